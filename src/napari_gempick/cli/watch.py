"""gempick watch."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from napari_gempick.cli.common import (
    VariadicCommand,
    command_errors,
    config_option,
    exit_status,
    interruptible,
    pool_option,
    run_settings,
    say,
    settings_options,
)
from napari_gempick.cli.lengths import given
from napari_gempick.model.values import counted
from napari_gempick.workflows.watch_settings import WatchSettings, make_watch_settings


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
def command(
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
