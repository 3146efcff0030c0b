"""gempick job: a data set as an MPI job."""

from __future__ import annotations

import click

from napari_gempick.cli import LazyGroup

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
