"""gempick report."""

from __future__ import annotations

from pathlib import Path

import click

from napari_gempick.cli.common import ProgressPrinter, command_errors, json_option, print_json, say
from napari_gempick.model.values import counted


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for report.html and particle_sheet.png. [default: DIR]",
)
@click.option(
    "--particles",
    type=click.IntRange(1, 200),
    default=24,
    show_default=True,
    help="Particles shown for each view.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier report.")
@json_option
@command_errors
def command(folder: Path, output: Path | None, particles: int, overwrite: bool, as_json: bool) -> None:
    """Write a report for your lab notebook about DIR, the output of gempick pick.

    report.html is one file with everything in it: settings, picks per micrograph, histograms of the scores with the
    thresholds, templates and mean images of each view, particles, and a micrograph with its picks.
    particle_sheet.png has templates, means and particles. Pictures come from up to 24 micrographs, spread evenly.
    """
    from napari_gempick.report.gather import report

    with ProgressPrinter("Report") as printer:
        made = report(folder, output, particles=particles, overwrite=overwrite, progress=printer.update)
    for sentence in made["notes"]:
        say(sentence)
    if as_json:
        print_json(made)
    else:
        click.echo(
            f"{counted(made['picks'], 'pick')} on {counted(made['micrographs'], 'micrograph')}: "
            f"{made['report']}, {made['sheet']}"
        )
