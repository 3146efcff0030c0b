"""gempick templates rotate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from napari_gempick.cli.common import (
    ProgressPrinter,
    VariadicCommand,
    command_errors,
    json_option,
    print_json,
    say,
    settings_options,
)
from napari_gempick.cli.lengths import given, micrographs_pixel_size
from napari_gempick.model.settings import TEMPLATE_SETTINGS
from napari_gempick.model.values import counted


@click.command("rotate", cls=VariadicCommand)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder.")
@click.option(
    "--micrograph",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The micrograph that is searched: its pixel size, and with --ctf its defocus, with --whiten its spectrum.",
)
@settings_options(TEMPLATE_SETTINGS)
@click.option("--overwrite", is_flag=True, help="Replace files.")
@json_option
@command_errors
def command(output: Path, micrograph: Path | None, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Write the rotated templates and masks that a search with these options uses.

    For each view: NAME_templates.mrcs (normalised under the mask, as they are correlated), NAME_masks.mrcs, and
    NAME.star with k, class and psi of every section.
    """
    from napari_gempick.model.settings import make_settings
    from napari_gempick.workflows.templates import rotate_files

    settings = make_settings(given(options, None if micrograph is None else micrographs_pixel_size([micrograph])))
    with ProgressPrinter("Rotating") as printer:
        made = rotate_files(settings, output, micrograph=micrograph, overwrite=overwrite, progress=printer.update)
    for note in made["notes"]:
        say(note)
    if as_json:
        print_json(made)
        return
    size = f"{made['box'][1]} x {made['box'][0]} pixels of {made['pixel_size']:g} Å"
    for name, view in made["views"].items():
        click.echo(
            f"view {name}: {counted(view['search_images'], 'rotated template')}, {size}: "
            f"{view['templates']}, {view['masks']}"
        )
