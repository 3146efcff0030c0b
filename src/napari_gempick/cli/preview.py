"""gempick preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli.common import (
    VariadicCommand,
    command_errors,
    json_option,
    print_json,
    say,
    settings_options,
)
from napari_gempick.cli.lengths import given, micrographs_pixel_size
from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import PickSettings
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from napari_gempick.workflows.preview import Preview

LEFT_OUT = names_with(PickSettings, role=("format", "files"))


@click.command("preview", cls=VariadicCommand)
@click.argument("micrograph", metavar="MICROGRAPH", type=click.Path(path_type=Path))
@settings_options(name for name in PickSettings.model_fields if name not in LEFT_OUT)
@click.option("--compare", is_flag=True, help="Also run the exact search, and say how well they agree.")
@json_option
@command_errors
def command(micrograph: Path, compare: bool, as_json: bool, **options: Any) -> int:
    """Look quickly at one micrograph, as the window does: nothing is written.

    A coarse grid and every few angles are searched first; then the real grid and the angles between, exactly, around
    every candidate.
    """
    from napari_gempick.model.settings import make_settings
    from napari_gempick.workflows.preview import preview_file

    def show(stage: Preview) -> None:
        what = f"{stage.refined} of {stage.candidates} candidates refined"
        say(f"{stage.seconds:.1f} s: {what}, {counted(len(stage.picks), 'pick')}")

    found = preview_file(
        micrograph, make_settings(given(options, micrographs_pixel_size([micrograph]))), compare=compare, shown=show
    )
    for note in found["notes"]:
        say(note)
    if as_json:
        print_json(found)
        return 0
    click.echo(f"{counted(found['picks'], 'pick')} in {found['seconds']:.1f} s.")
    if compare:
        click.echo(
            f"The exact search took {found['exact_seconds']:.1f} s: {found['both']} of its {found['exact']} picks were "
            f"found (within a tenth of the diameter), and {found['quick'] - found['both']} others; scores differ by at "
            f"most {found['largest_score_difference']:.4f}."
        )
    return 0
