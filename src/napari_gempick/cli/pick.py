"""gempick pick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli.common import (
    ProgressPrinter,
    VariadicCommand,
    command_errors,
    config_option,
    exit_status,
    interruptible,
    json_option,
    pool_option,
    print_json,
    print_picks,
    run_settings,
    say,
    settings_options,
)
from napari_gempick.cli.lengths import micrographs_pixel_size

if TYPE_CHECKING:
    from napari_gempick.engine.matching.pipeline import Progress


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
def command(
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
    from napari_gempick.workflows.retune import retune

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
            run = retune(output, {}, say, pooled=True)
    for hint in run["hints"]:
        say(hint)
    if as_json:
        print_json(run)
    else:
        print_picks(run, output)
    return exit_status(run)
