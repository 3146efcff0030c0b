"""gempick convert."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli.common import EXIT_SOME_FAILED, command_errors, proof_sentence, reported, say
from napari_gempick.cli.options import (
    LengthType,
    VariadicCommand,
    given,
    json_option,
    no_shifts_option,
    parse_format,
    parse_shape,
    settings_options,
)
from napari_gempick.io.formats import FORMATS
from napari_gempick.model.errors import ProofError
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.io.formats import Format


def _factor(context: click.Context, option: click.Parameter, value: str) -> float:
    """Read 2, 0.5 or 1/2."""
    try:
        number = float(Fraction(value))
    except (ValueError, ZeroDivisionError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise click.BadParameter(f"{value!r} is not a positive number or fraction, such as 2 or 1/2.", context, option)
    return number


_NAMES = ", ".join(FORMATS)
_KINDS = "Formats: " + "; ".join(f"{made.name}: {made.help}" for made in FORMATS.values()) + "."
_PROVING = ("templates", "template_pixel_size", "mask", "diameter", "contrast")


@click.command("convert", cls=VariadicCommand, epilog=_KINDS)
@click.argument("paths", nargs=-1, required=True, metavar="IN... OUT")
@click.option("--to", callback=parse_format, required=True, metavar="FORMAT", help=f"Format of OUT: {_NAMES}.")
@click.option(
    "--from", "source", callback=parse_format, metavar="FORMAT", help="Format of IN. [default: by suffix and content]"
)
@click.option(
    "--bin",
    "factor",
    callback=_factor,
    default="1",
    metavar="FACTOR",
    help="Multiply coordinates and box size, as for picks on micrographs binned by FACTOR that should fit the "
    "unbinned ones; 1/2 goes the other way. [default: 1]",
)
@click.option("--swap-xy", is_flag=True, help="Exchange x and y, after --bin; psi changes with them.")
@click.option("--flip-x", is_flag=True, help="x' = nx - 1 - x, after --swap-xy; psi changes with it.")
@click.option("--flip-y", is_flag=True, help="y' = ny - 1 - y, after --swap-xy; psi changes with it.")
@click.option(
    "--shape",
    callback=parse_shape,
    metavar="NY,NX",
    help="Size of the micrographs that OUT refers to, rows and columns. [px; default: from them, run.json, or IN]",
)
@click.option(
    "--micrographs",
    metavar="FOLDER|STAR|GLOB|CS",
    help="The micrographs that OUT refers to, found by path and stem; a .cs table of exposures gives cryoSPARC's uids.",
)
@click.option(
    "--name-table",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CSV",
    help="Table with the columns name (the micrograph's name in IN, or its stem) and micrograph (its path).",
)
@click.option(
    "--box",
    type=LengthType("px", 1, whole=True),
    metavar="PX",
    help="Box size of OUT. [px of OUT, or Å as in 280A; default: as in IN]",
)
@settings_options(_PROVING)
@click.option("--no-proof", is_flag=True, help="Do not check whether the result points at the particles.")
@no_shifts_option
@click.option(
    "--filament-spacing",
    type=LengthType("px", 0, open=True),
    metavar="PX",
    help="Distance between points along filaments that IN gives by their ends (EMAN start and end boxes); psi follows "
    "the axis. [px of IN, or Å]",
)
@click.option(
    "--allow-unmatched", is_flag=True, help="Leave out micrographs that are not in --micrographs or --name-table."
)
@click.option("--overwrite", is_flag=True, help="Replace files.")
@json_option
@command_errors
def command(
    paths: tuple[str, ...],
    to: Format,
    source: Format | None,
    factor: float,
    swap_xy: bool,
    flip_x: bool,
    flip_y: bool,
    no_proof: bool,
    no_shifts: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Convert coordinates between programs.

    IN is one or more coordinate files, folders of them, RELION's autopick.star, or a folder of results of gempick pick.
    OUT is a file, or a folder for formats that hold one micrograph in a file. Positions, scores, classes, views, angles
    and box sizes survive as far as the format can hold them; the program lists what the format cannot store.

    Where micrographs and templates are known, from a folder of results or from --micrographs and --templates, gempick
    reads the result back and averages the particles that it points at. A result that is flipped, has x and y
    exchanged, is shifted by half a box or is on the wrong grid is not written; gempick names the option that fixes it.
    """
    from napari_gempick.io.formats.coordinate_set import ReadOptions
    from napari_gempick.model.geometry import Orientation
    from napari_gempick.model.settings import make_settings
    from napari_gempick.workflows.convert import Conversion, convert

    if len(paths) < 2:
        raise click.UsageError("Give coordinates and, as the last argument, where to write them.")
    orientation = Orientation(factor, swap_xy, flip_x, flip_y)
    sized = () if options["filament_spacing"] else paths[:-1]  # EMAN's boxes of filaments have no pixel size
    pixel_size = functools.cache(functools.partial(_pixel_size, sized, options["micrographs"], factor))
    spacing = given({"spacing": options.pop("filament_spacing")}, lambda: pixel_size() * factor).get("spacing")
    box = given({"box": options.pop("box")}, pixel_size, sides=["box"]).get("box")
    proving = given({name: options.pop(name) for name in _PROVING}, pixel_size)
    templates = make_settings(proving) if "templates" in proving else None
    options |= {"box_size": box, "templates": templates, "proof": not no_proof}
    options["reading"] = ReadOptions(shifts=not no_shifts, spacing=spacing)
    try:
        report = convert(
            [Path(path) for path in paths[:-1]], Path(paths[-1]), Conversion(to, source, orientation, **options)
        )
    except ProofError as error:
        say(f"Error: {error.sentence}")
        return EXIT_SOME_FAILED
    if not reported(report, as_json, (*(one["error"] for one in report["failed"]), *report["loses"], *report["notes"])):
        click.echo("\n".join(_lines(report)))
    return EXIT_SOME_FAILED if report["failed"] else 0


def _pixel_size(inputs: Sequence[str], micrographs: str | None, factor: float) -> float:
    """Return the pixel size (Å) of the micrographs that OUT refers to: their own, or that of IN over the factor.

    Raises
    ------
    GempickError
        It is unknown, or not the same for all, or files cannot be read.
    """
    from napari_gempick.evaluation.evaluate import common_pixel_size
    from napari_gempick.io.coordinates import PICK_FILES
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.io.micrograph_names import Micrographs

    words = ("another unit", "--micrographs, or lengths in the unit that the option has by itself")
    if micrographs is None:
        return common_pixel_size([(Path(path), PICK_FILES) for path in inputs], (), *words) / factor
    files = [
        MicrographFile(one.path or Path(one.name), PurePosixPath(one.name), pixel_size=one.pixel_size)
        for one in Micrographs(micrographs).all
    ]
    return common_pixel_size((), files, *words)


def _lines(report: dict[str, Any]) -> list[str]:
    """Return the report for a person."""
    outside = "unknown (no micrograph size is known)" if report["outside"] is None else report["outside"]
    unmatched = len(report["unmatched"])
    return [
        f"{counted(report['picks_in'], 'pick')} read, {report['picks_out']:,} written for "
        f"{counted(report['micrographs'], 'micrograph')} as "
        f"{report['to']}: {report['output']}",
        f"picks outside the micrograph: {outside}",
        *([proof_sentence(report["proof"]["sentence"])] if report["proof"] else []),
        f"micrographs unmatched: {unmatched}" + (" (left out)" if unmatched else ""),
        *([f"micrographs without picks: {report['without_picks']}"] if report["without_picks"] else []),
        *([f"files that failed: {len(report['failed'])}"] if report["failed"] else []),
    ]
