"""gempick job submit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from napari_gempick.cli.common import command_errors, json_option, print_json


@click.command("submit")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option("--root", help="Path of the micrographs' root on the cluster; remembered for later submissions.")
@click.option(
    "--site",
    help="The job's site, if it is a folder that was not yet named on this machine: its commands run here. Or "
    "another site, from now on.",
)
@json_option
@command_errors
def command(folder: Path, root: str | None, site: str | None, as_json: bool) -> int:
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
