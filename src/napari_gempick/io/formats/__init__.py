"""The coordinate formats of other programs, each a small module, and the registry of them all."""

from __future__ import annotations

from pathlib import Path

from napari_gempick.io.formats.base import Format, PicksInfo
from napari_gempick.io.formats.cryosparc import CRYOSPARC
from napari_gempick.io.formats.eman import EMAN1, EMAN2
from napari_gempick.io.formats.gempicker import GEMPICKER, GEMPICKER_BOX
from napari_gempick.io.formats.other_star import CBOX, XMIPP
from napari_gempick.io.formats.relion import GAUTOMATCH, PARTICLES, STAR
from napari_gempick.io.formats.table import CSV, TOPAZ, TSV
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import InputError, SettingsError

__all__ = ["FORMATS", "SUFFIXES", "Format", "PicksInfo", "format_for", "format_named", "format_of"]

_ALL = (STAR, PARTICLES, GAUTOMATCH, EMAN1, EMAN2, CBOX, CRYOSPARC, XMIPP, GEMPICKER, GEMPICKER_BOX, TOPAZ, TSV, CSV)
FORMATS: dict[str, Format] = {made.name: made for made in _ALL}
"""Formats by the name that ``--format``, ``--to`` and ``--from`` take."""
SUFFIXES: tuple[str, ...] = tuple(
    dict.fromkeys(sorted((suffix for made in _ALL for suffix in made.suffixes), key=lambda s: s.startswith(".")))
)
"""Endings of coordinate files; those that say more than the suffix come first."""
_LONGEST_LINE = 4096


def format_named(name: str) -> Format:
    """Return the format of that name or alias, in any case.

    Raises
    ------
    SettingsError
        There is none.
    """
    wanted = name.strip().lower()
    for made in _ALL:
        if wanted in (made.name, *made.aliases):
            return made
    raise SettingsError(f"Unknown coordinate format {name}; choose one of {', '.join(FORMATS)}.")


def format_for(path: Path | str) -> Format:
    """Return the format in which a new file of this name is written, by the longest ending that is known.

    Raises
    ------
    SettingsError
        The ending belongs to no format, or to several.
    """
    fits = _by_ending(path)
    if len(fits) != 1:
        names = ", ".join(made.name for made in fits or _ALL)
        raise SettingsError(f"The ending of {path} does not say in which format to write; choose from {names}.")
    return fits[0]


def _by_ending(path: Path | str) -> list[Format]:
    name = Path(path).name.lower()
    fits = [(suffix, made) for made in _ALL for suffix in made.suffixes if name.endswith(suffix)]
    longest = max((len(suffix) for suffix, _ in fits), default=0)
    return [made for suffix, made in fits if len(suffix) == longest]


def format_of(path: Path | str) -> Format:
    """Return the format of a file, by the longest ending of its name that is known, then by its first line.

    Raises
    ------
    InputError
        The ending belongs to no format, or the file cannot be read.
    """
    left = _by_ending(path)
    if not left:
        known = ", ".join(sorted(suffix for suffix in SUFFIXES if suffix.startswith(".")))
        raise InputError(
            f"{path} has no suffix of a coordinate format ({known}); rename it (gempick convert takes --from too).",
            path,
        )
    if len(left) > 1:
        line = _first_line(path)
        left = [made for made in left if made.first_line is not None and made.first_line.match(line)] or [
            made for made in left if made.first_line is None
        ]
    return left[0]


def _first_line(path: Path | str) -> str:
    with readable(path), Path(path).open("rb") as stream:
        return stream.readline(_LONGEST_LINE).decode("utf-8-sig", "replace")
