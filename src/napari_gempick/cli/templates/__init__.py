"""gempick templates: one small module per sub-command."""

from __future__ import annotations

import click

from napari_gempick.cli.lazy import LazyGroup

COMMANDS = {
    "project": "Projections of a 3D map.",
    "average": "References from clicked or earlier picks.",
}


@click.group("templates", cls=LazyGroup, package=__name__, summaries=COMMANDS)
def command() -> None:
    """Make the templates and masks that `gempick pick` searches with."""
