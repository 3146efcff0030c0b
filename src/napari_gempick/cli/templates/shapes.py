"""gempick templates shapes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from napari_gempick.cli.common import command_errors, json_option, print_json
from napari_gempick.cli.lengths import LengthType, given, shapes_in_angstrom

if TYPE_CHECKING:
    from napari_gempick.model.values import Length

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command("shapes")
@click.argument("shapes", nargs=-1, required=True, metavar="SHAPE...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="OUT.mrc.")
@click.option("--pixel-size", type=_POSITIVE, required=True, help="Pixel size of the templates. [Å]")
@click.option("--box", type=LengthType("px", 8, whole=True), help="Side. [px; default: 1.5 times the largest shape]")
@click.option(
    "--invert",
    is_flag=True,
    help="Change the sign: shapes dark, as particles in micrographs. Without it they are bright, and `gempick pick` "
    "needs --contrast opposite.",
)
@click.option("--overwrite", is_flag=True, help="Replace files.")
@json_option
@command_errors
def command(
    shapes: tuple[str, ...],
    output: Path,
    pixel_size: float,
    box: Length | None,
    invert: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Draw simple templates, for a first look without any reference.

    SHAPE is gaussian:FWHM, disc:D, ring:OUTERxINNER or rectangle:AxB (along x and y), sizes in Å. Several make a stack.
    """
    import numpy as np

    from napari_gempick.engine.templates.sampling import box_of, draw, parse
    from napari_gempick.io.atomic import refuse_existing
    from napari_gempick.io.stack import AS_IN_MICROGRAPHS, PROTEIN_BRIGHT, write_mrc

    parsed = [parse(text) for text in shapes_in_angstrom(shapes, pixel_size)]
    refuse_existing([output], overwrite)
    n = given({"box": box}, pixel_size, sides=["box"]).get("box") or box_of(parsed, pixel_size)
    sign = -1 if invert else 1
    images = np.stack([sign * draw(kind, size, n, pixel_size) for kind, size in parsed])
    note = AS_IN_MICROGRAPHS if invert else PROTEIN_BRIGHT
    write_mrc(output, images if len(images) > 1 else images[0], pixel_size, stack=len(images) > 1, note=note)
    made = {"templates": str(output), "sections": list(shapes), "box": n, "pixel_size": pixel_size}
    if as_json:
        print_json(made)
    else:
        click.echo(f"{len(images)} of {n} x {n} pixels of {pixel_size:g} Å: {output}")
