"""gempick job collect."""

from __future__ import annotations

from pathlib import Path

import click

from napari_gempick.cli.common import command_errors, exit_status, json_option, print_json, print_picks, say


@click.command("collect")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Copy the results there. Default: JOBDIR/results."
)
@json_option
@command_errors
def command(folder: Path, output: Path | None, as_json: bool) -> int:
    """Make one data set of a job's results, finished or not: autopick.star, run.json and report.md.

    The folder is then like one of `gempick pick`: retune, evaluate and extract work on it.
    """
    from napari_gempick.cluster.collect import collect_job, coverage_sentence

    run = collect_job(folder, output, say)
    if as_json:
        print_json(run)
    else:
        print_picks(run, output or folder / "results")
        click.echo(coverage_sentence(run["job"]["coverage"]))
    return exit_status(run) or int(run["state"] != "complete")
