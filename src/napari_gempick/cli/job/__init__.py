"""gempick job: a data set as an MPI job. These commands work on an existing job folder; `export` writes one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from napari_gempick.cli import LazyGroup
from napari_gempick.cli.common import (
    EXIT_SOME_FAILED,
    command_errors,
    exit_status,
    json_option,
    print_json,
    print_picks,
    say,
)
from napari_gempick.model.values import figures

if TYPE_CHECKING:
    from napari_gempick.cluster.status import Status

COMMANDS = {
    "export": "Write a job folder for a cluster.",
    "submit": "Submit a job folder to its scheduler.",
    "status": "How far a job is.",
    "collect": "One data set of picks from a job.",
    "cancel": "End a job.",
}


@click.group("job", cls=LazyGroup, package=__name__, summaries=COMMANDS)
def command() -> None:
    """Pick a whole data set on a cluster, as an MPI job."""


@command.command("submit")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option("--root", help="Path of the micrographs' root on the cluster; remembered for later submissions.")
@click.option(
    "--site",
    help="The job's site, if it is a folder that has not been named on this machine yet (its commands run here); or "
    "another site to use from now on.",
)
@json_option
@command_errors
def submit(folder: Path, root: str | None, site: str | None, as_json: bool) -> int:
    """Submit a job to its scheduler, and print the job's number.

    Submitting again continues with what is missing: finished micrographs are checked and kept.
    """
    from napari_gempick.cluster.submit import submit_job

    made = submit_job(folder, root=root, site=site)
    if as_json:
        print_json(asdict(made))
    else:
        click.echo(made.job_id)
    return 0


@command.command("status")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option("--site", help="The job's site, if it is a folder that has not been named on this machine yet.")
@json_option
@command_errors
def status(folder: Path, site: str | None, as_json: bool) -> int:
    """Show the progress of a job: micrographs done and failed, the pace of each rank, time left.

    The scheduler is asked too if the job's files do not tell whether it is alive. Exit status 1: the job ended without
    a result.
    """
    from napari_gempick.cluster.status import LOST, job_status

    now = job_status(folder, site=site)
    if as_json:
        print_json(now.record())
    else:
        _show_status(now)
    if now.remark:
        say(now.remark)
    if now.state != LOST:
        return 0
    if not as_json:
        click.echo("Its log ends:" if now.log else "It left no log.")
        for line in now.log:
            click.echo(f"  {line}")
    return EXIT_SOME_FAILED


def _show_status(now: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    click.echo(
        f"{now.state}{f' (job {now.job_id})' if now.job_id else ''}: {now.done} of {now.total} micrographs done, "
        f"{now.failed} failed" + (f", about {now.seconds_left:.0f} s left" if now.seconds_left else "") + "."
    )
    if now.ranks:
        table = Table(box=None, pad_edge=False)
        for name in ("rank", "host", "devices"):
            table.add_column(name)
        for name in ("micrographs", "rotated templates / s", "last seen s ago"):
            table.add_column(name, justify="right")
        for rank in now.ranks:
            rate = "-" if rank.images_per_second is None else figures(rank.images_per_second)
            seen = f"{rank.seconds_ago:.0f}"
            table.add_row(str(rank.rank), rank.host, rank.devices, str(rank.micrographs), rate, seen)
        Console(width=110).print(table)
    for name in now.failures:
        click.echo(f"failed: {name}")


@command.command("collect")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Copy the results there. Default: JOBDIR/results."
)
@json_option
@command_errors
def collect(folder: Path, output: Path | None, as_json: bool) -> int:
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


@command.command("cancel")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option("--site", help="The job's site, if it is a folder that has not been named on this machine yet.")
@command_errors
def cancel(folder: Path, site: str | None) -> int:
    """End the job that was submitted last; what is finished stays, and it can be submitted again."""
    from napari_gempick.cluster.submit import cancel_job

    click.echo(f"Cancelled {cancel_job(folder, site=site)}.")
    return 0
