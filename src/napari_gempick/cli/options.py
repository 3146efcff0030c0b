"""Values of options that several sub-commands take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from napari_gempick.io.formats import format_named
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from napari_gempick.io.formats import Format


def parse_shape(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read NY,NX."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not NY,NX, rows and columns, such as 4096,5760.", context, option)
    return int(found[1]), int(found[2])


def parse_format(context: click.Context, option: click.Parameter, value: str | None) -> Format | None:
    """Read the name of a coordinate format."""
    try:
        return None if value is None else format_named(value)
    except SettingsError as error:
        raise click.BadParameter(error.sentence, context, option) from error


NO_SHIFTS = (
    "Leave the coordinates of refined particles as they are; otherwise rlnOriginXAngst and rlnOriginYAngst are "
    "subtracted, as RELION does when it extracts again."
)
