"""gempick templates project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from napari_gempick.cli.common import ProgressPrinter, command_errors, json_option, print_json, say
from napari_gempick.cli.lengths import LengthType, given
from napari_gempick.model.values import counted

_POSITIVE = click.FloatRange(min=0, min_open=True)
_LENGTH = LengthType("Å", 0, open=True)


@click.command("project")
@click.argument("volume", metavar="MAP", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The stack, OUT.mrcs."
)
@click.option(
    "--symmetry",
    default="C1",
    metavar="C1|C4|D2|D7|T|O|I",
    help="Point group of the map; only its asymmetric unit is projected. [default: C1]",
)
@click.option(
    "--angle-step",
    type=click.FloatRange(min=0.5, max=180),
    help="Mean distance of neighbouring views. [degrees; default: 15]",
)
@click.option("--views", type=click.IntRange(min=1), metavar="N", help="Number of views, instead of --angle-step.")
@click.option(
    "--lowpass",
    type=_LENGTH,
    help="Low-pass: full up to 0.8 / value, zero from 1 / value on. [Å]",
)
@click.option(
    "--invert",
    is_flag=True,
    help="Change the sign: particles dark, as in micrographs. Without it they are bright as in the map, and `gempick "
    "pick` needs --contrast opposite.",
)
@click.option(
    "--pixel-size", "template_pixel_size", type=_POSITIVE, help="Pixel size of the templates. [Å; default: the map's]"
)
@click.option("--map-pixel-size", type=_POSITIVE, help="Pixel size of the map. [Å; default: the file header]")
@click.option(
    "--mask",
    type=click.Choice(["auto", "circular"]),
    default="auto",
    help="Mask of all projections: auto is the union of their outlines, circular the circle that holds them. Both have "
    "a soft edge. [default: auto]",
)
@click.option(
    "--diameter",
    type=_LENGTH,
    help="Diameter of circular masks. [Å; default: from the projections]",
)
@click.option(
    "--view",
    "named",
    multiple=True,
    metavar="NAME=ROT,TILT[,PSI]",
    help="A view of its own, OUT_NAME.mrc with OUT_NAME_mask.mrc, for --templates NAME=...; may be repeated. Without "
    "--angle-step or --views, OUT.mrcs holds only these. [degrees]",
)
@click.option("--overwrite", is_flag=True, help="Replace files.")
@json_option
@command_errors
def command(volume: Path, output: Path, named: tuple[str, ...], overwrite: bool, as_json: bool, **options: Any) -> None:
    """Project a 3D map.

    Directions are spread evenly over the sphere, or over the asymmetric unit. Opposite directions give mirror images
    of each other, which no in-plane rotation brings together, so both are made where the symmetry does not exchange
    them. The command writes OUT.mrcs, OUT_mask.mrcs, and OUT.star with RELION's angles of every section.
    """
    from napari_gempick.workflows.templates import named_angles, project_files

    if options["angle_step"] is not None and options["views"] is not None:
        raise click.UsageError("--angle-step and --views cannot be combined; give only one.")
    with ProgressPrinter("Projecting") as printer:
        made = project_files(
            volume,
            output,
            named=dict(named_angles(text) for text in named),
            overwrite=overwrite,
            progress=printer.update,
            **given(options, options["template_pixel_size"] or options["map_pixel_size"]),
        )
    for note in made["notes"]:
        say(note)
    if as_json:
        print_json(made)
        return
    size = f"{made['box']} x {made['box']} pixels of {made['pixel_size']:g} Å"
    views = counted(made["views"], "view")
    click.echo(f"{views} ({made['symmetry']}) of {size} in {made['templates']}, masks in {made['masks']}")
    for name, files in made["named_views"].items():
        click.echo(f"view {name}: {files['template']}, mask {files['mask']}")
