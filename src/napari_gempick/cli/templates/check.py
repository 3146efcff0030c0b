"""gempick templates check."""

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
from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import TEMPLATE_SETTINGS, PickSettings

_SETTINGS = (
    *TEMPLATE_SETTINGS,
    *("threshold", "min_distance", "border"),
    *names_with(PickSettings, role="run"),
)


@click.command("check", cls=VariadicCommand)
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
def command(
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
    from napari_gempick.model.settings import make_settings
    from napari_gempick.workflows.template_bias import check_files

    settings = make_settings(given(options, micrographs_pixel_size([micrograph])))
    with ProgressPrinter("Checking") as printer:
        made = check_files(
            settings, micrograph, folder=output, particles=particles, seed=seed,
            overwrite=overwrite, progress=printer.update,
        )  # fmt: skip
    for note in made["notes"]:
        say(note)
    if as_json:
        print_json(made)
        return
    for view in made["views"]:
        at = f"{view['picks']} picks reach {view['threshold']:g}, {view['picks_in_noise']} in noise"
        click.echo(
            f"view {view['name']}: {at}. "
            f"The average of the {view['averaged']} best correlates {view['likeness']:.2f} with the template; "
            f"of noise, by chance alone, {view['likeness_of_noise']:.2f}."
        )
