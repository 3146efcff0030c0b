"""gempick gui."""

from __future__ import annotations

from pathlib import Path

import click

from napari_gempick.cli.common import command_errors
from napari_gempick.model.errors import SettingsError


@click.command("gui")
@click.argument("paths", nargs=-1, metavar="[DIR|FILES]...", type=click.Path(path_type=Path))
@command_errors
def command(paths: tuple[Path, ...]) -> None:
    """Open napari with the plugin, on micrographs or on the results of an earlier run.

    A folder that gempick pick, a cluster job or an earlier session wrote is opened to continue there; other folders and
    files are added as micrographs.
    """
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise SettingsError(f"{missing} does not exist; check the path.", missing)
    try:
        from napari_gempick.widgets.app.dock import open_window
    except ImportError as error:
        raise SettingsError(
            f"The window needs napari ({error}); in a copy of the repository, run: pip install '.[gui]'."
        ) from error
    open_window([path.absolute() for path in paths])
