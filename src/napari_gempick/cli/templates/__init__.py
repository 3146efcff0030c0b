"""gempick templates: one small module per sub-command."""

from __future__ import annotations

import click

from napari_gempick.cli import LazyGroup

COMMANDS = {
    "project": "Projections of a 3D map.",
    "average": "References from clicked or earlier picks.",
    "shapes": "Blobs, discs, rings, rectangles: a first look without a reference.",
    "rotate": "The rotated templates and masks that a search uses.",
    "check": "How much an average of noise would look like the template.",
}


@click.group("templates", cls=LazyGroup, package=__name__, summaries=COMMANDS)
def command() -> None:
    """Make the templates and masks that `gempick pick` searches with."""
