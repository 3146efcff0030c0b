"""gempick templates average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from napari_gempick.cli.common import (
    EXIT_SOME_FAILED,
    ProgressPrinter,
    command_errors,
    json_option,
    print_json,
    say,
    settings_options,
)
from napari_gempick.cli.lengths import LengthType, given, micrographs_pixel_size
from napari_gempick.model.values import counted

_POSITIVE = click.FloatRange(min=0, min_open=True)
_LENGTH = LengthType("Å", 0, open=True)


@click.command("average")
@click.argument("paths", nargs=-1, required=True, metavar="MICROGRAPH... PICKS")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The average, OUT.mrc."
)
@click.option("--box", type=LengthType("px", 8, whole=True), help="Side of the average. [px; default: as in PICKS]")
@click.option(
    "--diameter",
    type=_LENGTH,
    help="The particle's diameter; the box is 1.5 times that. [Å; default: as in PICKS]",
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
def command(paths: tuple[str, ...], output: Path, as_json: bool, **options: Any) -> int:
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
    if as_json:
        print_json(made)
        return status
    at_edges = f" ({made['left_out_at_edges']} at edges left out)" if made["left_out_at_edges"] else ""
    size = f"{made['box']} x {made['box']} pixels of {made['pixel_size']:g} Å"
    click.echo(f"{counted(made['particles'], 'particle')}{at_edges}, {size}: {made['templates']}, mask {made['masks']}")
    for one in made["classes"]:
        score = "-" if one["mean_score"] is None else f"{one['mean_score']:.3f}"
        click.echo(f"section {one['section']}: {counted(one['particles'], 'particle')}, mean score {score}")
    return status
