"""gempick templates: the templates and masks that a search takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli import ListedGroup
from napari_gempick.cli.common import EXIT_SOME_FAILED, ProgressPrinter, command_errors, reported, say
from napari_gempick.cli.options import (
    LengthType,
    VariadicCommand,
    chosen_settings,
    given,
    json_option,
    micrographs_pixel_size,
    settings_options,
    shapes_in_angstrom,
)
from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import TEMPLATE_SETTINGS, PickSettings
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from napari_gempick.model.values import Length

_POSITIVE = click.FloatRange(min=0, min_open=True)
_LENGTH = LengthType("Å", 0, open=True)
COMMANDS = {
    "project": "Projections of a 3D map.",
    "average": "References from clicked or earlier picks.",
    "shapes": "Blobs, discs, rings, rectangles: a first look without a reference.",
    "rotate": "The rotated templates and masks that a search uses.",
    "check": "How much an average of noise would look like the template.",
}


@click.group("templates", cls=ListedGroup, summaries=COMMANDS)
def templates() -> None:
    """Make the templates and masks that `gempick pick` searches with."""


@templates.command("project")
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
@click.option("--lowpass", type=_LENGTH, help="Low-pass: full up to 0.8 / value, zero from 1 / value on. [Å]")
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
@click.option("--diameter", type=_LENGTH, help="Diameter of circular masks. [Å; default: from the projections]")
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
def project(volume: Path, output: Path, named: tuple[str, ...], overwrite: bool, as_json: bool, **options: Any) -> None:
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
    if reported(made, as_json, made["notes"]):
        return
    size = f"{made['box']} x {made['box']} pixels of {made['pixel_size']:g} Å"
    views = counted(made["views"], "view")
    click.echo(f"{views} ({made['symmetry']}) of {size} in {made['templates']}, masks in {made['masks']}")
    for name, files in made["named_views"].items():
        click.echo(f"view {name}: {files['template']}, mask {files['mask']}")


@templates.command("average")
@click.argument("paths", nargs=-1, required=True, metavar="MICROGRAPH... PICKS")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The average, OUT.mrc."
)
@click.option("--box", type=LengthType("px", 8, whole=True), help="Side of the average. [px; default: as in PICKS]")
@click.option(
    "--diameter", type=_LENGTH, help="The particle's diameter; the box is 1.5 times that. [Å; default: as in PICKS]"
)
@click.option("--pixel-size", type=_POSITIVE, help="Pixel size of the micrographs. [Å; default: the file headers]")
@click.option(
    "--select",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Only picks with this value in a column, such as view=side; may be repeated.",
)
@click.option(
    "--max-particles",
    type=click.IntRange(min=1),
    default=1000,
    metavar="N",
    help="Use at most N particles: the best-scoring, or the first N if PICKS has no scores. [default: 1000]",
)
@click.option(
    "--use-psi/--no-use-psi",
    default=False,
    help="Keep the angles of PICKS. Otherwise the longer axis of the average is turned along x. [default: no]",
)
@click.option("--classes", type=click.IntRange(min=1, max=50), default=1, help="Number of averages. [default: 1]")
@click.option("--iterations", type=click.IntRange(min=1), default=8, help="Rounds of alignment, at most. [default: 8]")
@click.option(
    "--max-shift",
    type=_LENGTH,
    help="Farthest that a particle may lie from its pick. [Å; default: an eighth of the box]",
)
@settings_options(["defects"])
@click.option("--overwrite", is_flag=True, help="Replace files.")
@json_option
@command_errors
def average(paths: tuple[str, ...], output: Path, as_json: bool, **options: Any) -> int:
    """Make references from particles: cut out, align in rotation and shift, average, centre.

    PICKS, the last argument, is a coordinate file of any format, a folder of them (paired with the micrographs by
    name), or a folder of results. Ten clicked particles of one view are enough for a start. The command writes
    OUT.mrc (a stack when there are several classes, the largest first), OUT_mask.mrc, and OUT.star with the aligned
    particles.
    """
    from napari_gempick.io.listing import find_micrographs
    from napari_gempick.workflows.average import average_files

    if len(paths) < 2:
        raise click.UsageError("Give micrographs and, as the last argument, the picks.")
    with ProgressPrinter("Averaging") as printer:
        micrographs = find_micrographs(paths[:-1])
        chosen = given(options, micrographs_pixel_size(paths[:-1]), sides=["box"])
        made = average_files(micrographs, Path(paths[-1]), output, progress=printer.update, **chosen)
    for sentence in (*made["notes"], *made["missing"]):
        say(sentence)
    status = EXIT_SOME_FAILED if made["missing"] else 0
    if reported(made, as_json):
        return status
    at_edges = f" ({made['left_out_at_edges']} at edges left out)" if made["left_out_at_edges"] else ""
    size = f"{made['box']} x {made['box']} pixels of {made['pixel_size']:g} Å"
    click.echo(f"{counted(made['particles'], 'particle')}{at_edges}, {size}: {made['templates']}, mask {made['masks']}")
    for one in made["classes"]:
        score = "-" if one["mean_score"] is None else f"{one['mean_score']:.3f}"
        click.echo(f"section {one['section']}: {counted(one['particles'], 'particle')}, mean score {score}")
    return status


@templates.command("shapes")
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
def shapes(
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
    if not reported(made, as_json):
        click.echo(f"{len(images)} of {n} x {n} pixels of {pixel_size:g} Å: {output}")


@templates.command("rotate", cls=VariadicCommand)
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
def rotate(output: Path, micrograph: Path | None, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Write the rotated templates and masks that a search with these options uses.

    For each view: NAME_templates.mrcs (normalised under the mask, as they are correlated), NAME_masks.mrcs, and
    NAME.star with k, class and psi of every section.
    """
    from napari_gempick.workflows.templates import rotate_files

    pixel_size = None if micrograph is None else micrographs_pixel_size([micrograph])
    settings = chosen_settings(options, pixel_size=pixel_size)
    with ProgressPrinter("Rotating") as printer:
        made = rotate_files(settings, output, micrograph=micrograph, overwrite=overwrite, progress=printer.update)
    if reported(made, as_json, made["notes"]):
        return
    size = f"{made['box'][1]} x {made['box'][0]} pixels of {made['pixel_size']:g} Å"
    for name, view in made["views"].items():
        click.echo(
            f"view {name}: {counted(view['search_images'], 'rotated template')}, {size}: "
            f"{view['templates']}, {view['masks']}"
        )


_SETTINGS = (*TEMPLATE_SETTINGS, *("threshold", "min_distance", "border"), *names_with(PickSettings, role="run"))


@templates.command("check", cls=VariadicCommand)
@click.argument("micrograph", metavar="MICROGRAPH", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for the averages.")
@settings_options(_SETTINGS)
@click.option(
    "--particles", type=click.IntRange(min=1), help="How many to average. [default: as many as there are picks]"
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the noise. [default: 0]")
@click.option("--overwrite", is_flag=True, help="Replace files.")
@json_option
@command_errors
def check(
    micrograph: Path,
    output: Path | None,
    particles: int | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the template bias: "Einstein from noise".

    Picks are found in the micrograph and, with the same settings, in noise of the same size and power spectrum. The
    best of each are turned back by psi and averaged. An average of noise looks like the template merely because
    of the selection; the result says how much, as a correlation under the mask, beside that of the micrograph's own
    average.
    """
    from napari_gempick.workflows.template_bias import check_files

    settings = chosen_settings(options, pixel_size=micrographs_pixel_size([micrograph]))
    with ProgressPrinter("Checking") as printer:
        made = check_files(
            settings, micrograph, folder=output, particles=particles, seed=seed,
            overwrite=overwrite, progress=printer.update,
        )  # fmt: skip
    if reported(made, as_json, made["notes"]):
        return
    for view in made["views"]:
        at = f"{view['picks']} picks reach {view['threshold']:g}, {view['picks_in_noise']} in noise"
        click.echo(
            f"view {view['name']}: {at}. "
            f"The average of the {view['averaged']} best correlates {view['likeness']:.2f} with the template; "
            f"of noise, by chance alone, {view['likeness_of_noise']:.2f}."
        )
