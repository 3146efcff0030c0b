"""gempick job status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from napari_gempick.cli.common import EXIT_SOME_FAILED, command_errors, json_option, print_json, say
from napari_gempick.model.values import figures

if TYPE_CHECKING:
    from napari_gempick.cluster.status import Status


@click.command("status")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option("--site", help="The job's site, if it is a folder that was not yet named on this machine.")
@json_option
@command_errors
def command(folder: Path, site: str | None, as_json: bool) -> int:
    """Show the progress of a job: micrographs done and failed, the pace of each rank, time left.

    The scheduler is asked too if the job's files do not tell whether it is alive. Exit status 1: the job ended without
    a result.
    """
    from napari_gempick.cluster.status import LOST, job_status

    now = job_status(folder, site=site)
    if as_json:
        print_json(now.record())
    else:
        _show(now)
    if now.remark:
        say(now.remark)
    if now.state != LOST:
        return 0
    if not as_json:
        click.echo("Its log ends:" if now.log else "It left no log.")
        for line in now.log:
            click.echo(f"  {line}")
    return EXIT_SOME_FAILED


def _show(now: Status) -> None:
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
