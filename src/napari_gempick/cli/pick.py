"""gempick pick, watch, preview, retune and report: runs and their results."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli.common import (
    ProgressPrinter,
    command_errors,
    exit_status,
    interruptible,
    print_picks,
    reported,
    say,
)
from napari_gempick.cli.options import (
    VariadicCommand,
    chosen_settings,
    config_option,
    given,
    json_option,
    micrographs_pixel_size,
    pool_option,
    run_pixel_size,
    run_settings,
    settings_options,
)
from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import RETUNABLE, PickSettings
from napari_gempick.model.values import counted
from napari_gempick.workflows.watch_settings import WatchSettings, make_watch_settings

if TYPE_CHECKING:
    from napari_gempick.engine.matching.pipeline import Progress
    from napari_gempick.workflows.preview import Preview


@click.command("pick", cls=VariadicCommand)
@click.argument("micrographs", nargs=-1, required=True, metavar="MICROGRAPH...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@settings_options()
@config_option()
@pool_option
@click.option("--overwrite", is_flag=True, help="Replace results that the output folder holds.")
@click.option("--resume", is_flag=True, help="Keep the micrographs that are done and continue with the others.")
@json_option
@command_errors
def pick(
    micrographs: tuple[str, ...],
    output: Path,
    config: Path | None,
    pooled: bool,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Pick particles in micrographs (files, folders, globs, or a STAR file listing them).

    For each micrograph it writes STEM_autopick.star and candidates/STEM.star, and for the whole run autopick.star and
    run.json. Scores are normalised cross-correlations between -1 and 1.
    """
    from napari_gempick.inputs.views import pixel_size_hints
    from napari_gempick.io.listing import find_micrographs
    from napari_gempick.results.whole_run import own_folders
    from napari_gempick.workflows.pick import pick_files
    from napari_gempick.workflows.retune import retune as choose_again

    size = micrographs_pixel_size(micrographs, own_folders(output))
    settings = run_settings(options, config, overwrite=overwrite, resume=resume, pooled=pooled, pixel_size=size)
    notes: list[str] = []
    files = find_micrographs(micrographs, skip=own_folders(output), notify=notes.append)
    notes += pixel_size_hints(settings, files)
    for note in notes:
        say(note)
    with ProgressPrinter("Picking") as printer, interruptible() as cancel:

        def show(progress: Progress) -> None:
            what = f"Picking {min(progress.finished + 1, progress.total)} of {progress.total}"
            printer.update((progress.finished + progress.share) / progress.total, what)

        run = pick_files(
            settings,
            files,
            output,
            overwrite=overwrite,
            resume=resume,
            cancel=cancel,
            progress=show,
            notes=notes,
            notify=say,
        )
        if pooled:
            run = choose_again(output, {}, say, pooled=True)
    if not reported(run, as_json, run["hints"]):
        print_picks(run, output)
    return exit_status(run)


@click.command("watch", cls=VariadicCommand)
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@settings_options(model=WatchSettings)
@settings_options()
@config_option()
@pool_option
@click.option("--overwrite", is_flag=True, help="Remove the results that the output folder holds, and start again.")
@click.option("--resume", is_flag=True, help="Keep the micrographs that are done, as this command always does.")
@click.option("--json", "as_json", is_flag=True, help="Print events on stdout, one JSON object per line.")
@command_errors
def watch(
    folders: tuple[Path, ...],
    output: Path,
    config: Path | None,
    pooled: bool,
    overwrite: bool,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Pick particles in micrographs as they arrive in folders.

    Each file is picked as soon as it is complete. The results are those of gempick pick, and complete at any moment;
    started again with the same output folder, the command continues. Ctrl-C and SIGTERM end it after the current
    micrograph.
    """
    from napari_gempick.workflows.watch import watch_folders

    watching = make_watch_settings(given({name: options.pop(name) for name in WatchSettings.model_fields}))
    settings = run_settings(options, config, overwrite=overwrite, resume=resume, pooled=pooled)
    line = _StatusLine()

    def tell(event: str, facts: dict[str, Any]) -> None:
        if as_json:
            now = datetime.now().astimezone().isoformat(timespec="seconds")
            click.echo(json.dumps({"event": event, "time": now, **facts}, ensure_ascii=False))
            sys.stdout.flush()

    try:
        with interruptible() as stop:
            run = watch_folders(
                settings,
                folders,
                output,
                watching,
                overwrite=overwrite,
                pooled=pooled,
                stop=stop,
                tell=tell,
                notify=line.say,
                status=line.show,
            )
    finally:
        line.close()
    for hint in run["hints"]:
        say(hint)
    good = [row for row in run["micrographs"] if "error" not in row]
    failed = len(run["micrographs"]) - len(good)
    counts = f"{counted(len(good), 'micrograph')}, {counted(sum(row['picks'] for row in good), 'pick')}"
    say(f"{counts}{f', {failed} failed' if failed else ''}. Results are in {output}.")
    return exit_status(run)


class _StatusLine:
    """The state of the command on stderr: the last line of a terminal, elsewhere a line a minute if there is news."""

    EVERY_SECONDS = 60.0

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._text, self._last = "", -self.EVERY_SECONDS

    def show(self, text: str) -> None:
        """Show the state."""
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\x1b[K{text[:width]}", nl=False, err=True)
        elif text != self._text and time.monotonic() - self._last >= self.EVERY_SECONDS:
            self._last = time.monotonic()
            say(text)
        else:
            return
        self._text = text

    def say(self, sentence: str) -> None:
        """Print a sentence above the state."""
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)
        say(sentence)
        if self._terminal and self._text:
            self.show(self._text)

    def close(self) -> None:
        """Leave the terminal's line."""
        if self._terminal and self._text:
            click.echo(err=True)


_WRITTEN = names_with(PickSettings, role=("format", "files"))


@click.command("preview", cls=VariadicCommand)
@click.argument("micrograph", metavar="MICROGRAPH", type=click.Path(path_type=Path))
@settings_options(name for name in PickSettings.model_fields if name not in _WRITTEN)
@click.option("--compare", is_flag=True, help="Also run the exact search, and say how well they agree.")
@json_option
@command_errors
def preview(micrograph: Path, compare: bool, as_json: bool, **options: Any) -> int:
    """Look quickly at one micrograph, as the window does: nothing is written.

    A coarse grid and every few angles are searched first; then the real grid and the angles between, exactly, around
    every candidate.
    """
    from napari_gempick.workflows.preview import preview_file

    def show(stage: Preview) -> None:
        what = f"{stage.refined} of {stage.candidates} candidates refined"
        say(f"{stage.seconds:.1f} s: {what}, {counted(len(stage.picks), 'pick')}")

    settings = chosen_settings(options, pixel_size=micrographs_pixel_size([micrograph]))
    found = preview_file(micrograph, settings, compare=compare, shown=show)
    if reported(found, as_json, found["notes"]):
        return 0
    click.echo(f"{counted(found['picks'], 'pick')} in {found['seconds']:.1f} s.")
    if compare:
        click.echo(
            f"The exact search took {found['exact_seconds']:.1f} s: {found['both']} of its {found['exact']} picks were "
            f"found (within a tenth of the diameter), and {found['quick'] - found['both']} others; scores differ by at "
            f"most {found['largest_score_difference']:.4f}."
        )
    return 0


@click.command("retune", cls=VariadicCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@settings_options(RETUNABLE, show_defaults=False)
@pool_option
@click.option(
    "--teach",
    "teach",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="LABELS",
    help="With --score learned: labels that a person gave. CSV with the columns micrograph, x, y and label (good or "
    "bad), a saved session of the window, or corrected picks.",
)
@json_option
@command_errors
def retune(folder: Path, pooled: bool, teach: tuple[Path, ...], as_json: bool, **options: Any) -> int:
    """Choose new picks from the candidates in DIR, the output of gempick pick, without a new search.

    Settings that are not given stay as they were. The coordinate files, autopick.star and run.json are replaced.
    """
    from napari_gempick.workflows.retune import retune as choose_again

    run = choose_again(folder, given(options, run_pixel_size(folder)), say, pooled=pooled, teach=teach)
    if not reported(run, as_json):
        print_picks(run, folder)
    return exit_status(run)


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for report.html and particle_sheet.png. [default: DIR]",
)
@click.option(
    "--particles", type=click.IntRange(1, 200), default=24, show_default=True, help="Particles shown for each view."
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier report.")
@json_option
@command_errors
def report(folder: Path, output: Path | None, particles: int, overwrite: bool, as_json: bool) -> None:
    """Write a report for your lab notebook about DIR, the output of gempick pick.

    report.html is one file with everything in it: settings, picks per micrograph, histograms of the scores with the
    thresholds, templates and mean images of each view, particles, and a micrograph with its picks.
    particle_sheet.png has templates, means and particles. Pictures come from up to 24 micrographs, spread evenly.
    """
    from napari_gempick.report.gather import report as write_report

    with ProgressPrinter("Report") as printer:
        made = write_report(folder, output, particles=particles, overwrite=overwrite, progress=printer.update)
    if not reported(made, as_json, made["notes"]):
        click.echo(
            f"{counted(made['picks'], 'pick')} on {counted(made['micrographs'], 'micrograph')}: "
            f"{made['report']}, {made['sheet']}"
        )
