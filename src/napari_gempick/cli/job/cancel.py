"""gempick job cancel."""

from __future__ import annotations

from pathlib import Path

import click

from napari_gempick.cli.common import command_errors


@click.command("cancel")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option("--site", help="The job's site, if it is a folder that was not yet named on this machine.")
@command_errors
def command(folder: Path, site: str | None) -> int:
    """End the job that was submitted last; what is finished stays, and it can be submitted again."""
    from napari_gempick.cluster.submit import cancel_job

    click.echo(f"Cancelled {cancel_job(folder, site=site)}.")
    return 0
