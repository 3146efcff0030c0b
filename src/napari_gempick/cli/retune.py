"""gempick retune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from napari_gempick.cli.common import (
    VariadicCommand,
    command_errors,
    exit_status,
    json_option,
    pool_option,
    print_json,
    print_picks,
    say,
    settings_options,
)
from napari_gempick.cli.lengths import given, run_pixel_size
from napari_gempick.model.settings import RETUNABLE
from napari_gempick.workflows.retune import retune


@click.command("retune", cls=VariadicCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@settings_options(RETUNABLE, show_defaults=False)
@pool_option
@click.option(
    "--teach",
    "teach",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="LABELS",
    help="With --score learned: labels that a person gave. CSV with the columns micrograph, x, y and label (good or "
    "bad), a saved session of the window, or corrected picks.",
)
@json_option
@command_errors
def command(folder: Path, pooled: bool, teach: tuple[Path, ...], as_json: bool, **options: Any) -> int:
    """Choose new picks from the candidates in DIR, the output of gempick pick, without a new search.

    Settings that are not given stay as they were. The coordinate files, autopick.star and run.json are replaced.
    """
    run = retune(folder, given(options, run_pixel_size(folder)), say, pooled=pooled, teach=teach)
    if as_json:
        print_json(run)
    else:
        print_picks(run, folder)
    return exit_status(run)
