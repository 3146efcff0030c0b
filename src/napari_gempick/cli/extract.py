"""gempick extract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli.common import EXIT_SOME_FAILED, ProgressPrinter, command_errors, interruptible, reported
from napari_gempick.cli.options import given, json_option, no_shifts_option, settings_options
from napari_gempick.evaluation.evaluate import common_pixel_size
from napari_gempick.extraction.settings import ExtractSettings, make_extract_settings
from napari_gempick.io.coordinates import PICK_FILES
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.settings import MOST_THREADS
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command("extract")
@click.argument("paths", nargs=-1, required=True, metavar="MICROGRAPHS... PICKS")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Stack of particles, .mrcs; the STAR file beside it has the same name.",
)
@settings_options(model=ExtractSettings)
@click.option(
    "--ctf",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="STAR",
    help="Micrographs STAR file whose CTF columns and optics groups are carried over. "
    "[default: MICROGRAPHS, where it is a STAR file]",
)
@click.option(
    "--pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    help="Pixel size of the micrographs. [Å; default: of the picks' results, or the file headers]",
)
@click.option(
    "--threads", type=click.IntRange(0, MOST_THREADS), default=0, help="CPU threads; 0: all cores. [default: 0]"
)
@no_shifts_option
@click.option("--allow-unmatched", is_flag=True, help="Leave out picks of micrographs that are not given.")
@click.option("--resume", is_flag=True, help="Continue an extraction that was interrupted.")
@click.option("--overwrite", is_flag=True, help="Replace files.")
@json_option
@command_errors
def command(
    paths: tuple[str, ...],
    output: Path,
    ctf: Path | None,
    pixel_size: float | None,
    threads: int,
    no_shifts: bool,
    allow_unmatched: bool,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Cut particles out of micrographs, for 2D classification.

    MICROGRAPHS are files, folders, globs or a STAR file; PICKS, the last argument, are coordinates of any kind (see
    gempick convert) or a folder of results. The command writes one stack, and a STAR file for RELION >= 3.1 with optics
    table, coordinates, class, score, psi and its prior, and CTF parameters where they are known. A particle is the
    square that RELION cuts, with its background normalised: its pixel n // 2 is the position of the pick, truncated
    to whole pixels; the rest is kept as shifts in the STAR file.
    """
    from napari_gempick.extraction.extract import Extraction, extract

    if len(paths) < 2:
        raise click.UsageError("Give micrographs and, as the last argument, picks.")
    settings = make_extract_settings(_in_pixels(options, paths, pixel_size))
    what = Extraction(
        paths[:-1],
        Path(paths[-1]),
        output,
        settings,
        ctf,
        pixel_size,
        threads,
        allow_unmatched,
        resume,
        overwrite,
        shifts=not no_shifts,
    )
    with ProgressPrinter("Extracting") as printer, interruptible() as cancel:
        report = extract(what, cancel=cancel, progress=printer.update)
    if not reported(report, as_json, (*(one["error"] for one in report["failed"]), *report["notes"])):
        click.echo(
            f"{counted(report['particles'], 'particle')} of {counted(report['micrographs'], 'micrograph')}: "
            f"{report['output']}"
        )
        click.echo(f"picks read: {report['picks']}; outside their micrograph: {report['outside']}; "
                   f"left out at the edge: {report['at_edge']}")  # fmt: skip
        click.echo(f"for RELION: {report['star']}")
    return EXIT_SOME_FAILED if report["failed"] else 0


def _in_pixels(options: dict[str, Any], paths: Sequence[str], pixel_size: float | None) -> dict[str, Any]:
    """Return the settings that were given; sides that were given in Å become even numbers of pixels.

    Raises
    ------
    GempickError
        The pixel size is needed and unknown, or picks and micrographs tell different ones, or cannot be read.
    """

    def look_up() -> float:
        return common_pixel_size([(Path(paths[-1]), PICK_FILES)], find_micrographs(paths[:-1]))

    return given(options, pixel_size or look_up, sides=["box", "rescale"])
