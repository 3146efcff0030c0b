"""Lengths on the command line: in Å or px, with or without their unit, and the pixel size that relates the two."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.model.errors import SettingsError
from napari_gempick.model.values import Length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    PixelSize = float | Callable[[], float] | None

_SHAPE = re.compile(r"(?:[^=:/\\]+=)?(?:circle|disc|ellipse|gaussian|rectangle|ring):.*", re.IGNORECASE)
_SIZE = re.compile(r"[\d.]+(?:px|[AÅ\u212b])", re.IGNORECASE)


class LengthType(click.ParamType):  # type: ignore[type-arg]
    """A length in one unit, or with its own: px or Å.

    Less than `least` is refused, and this itself if `open`. With `whole`, whole numbers are int.
    """

    name = "length"

    def __init__(self, unit: str, least: float = -math.inf, *, open: bool = False, whole: bool = False) -> None:
        self._unit, self._least, self._open, self._whole = unit, least, open, whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Length:
        """See click.ParamType."""
        try:
            length = value if isinstance(value, Length) else Length.read(str(value), self._unit)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if length.value < self._least or (self._open and length.value == self._least):
            how = "more than" if self._open else "at least"
            self.fail(f"{value} is too small; give {how} {self._least:g}.", param, ctx)
        if not self._whole or length.unit != length.wanted:
            return length
        if not length.value.is_integer():
            self.fail(f"{value} is not a whole number.", param, ctx)
        return length._replace(value=int(length.value))


class _Converter:
    """Brings lengths to the unit in which they are used; a pixel size (Å) that must be looked up is looked up once."""

    def __init__(self, pixel_size: PixelSize) -> None:
        self._pixel_size = pixel_size

    def used(self, length: Length) -> float:
        if length.unit != length.wanted and callable(self._pixel_size):
            self._pixel_size = self._pixel_size()
        return length.used(None if callable(self._pixel_size) else self._pixel_size)

    def shape(self, text: str) -> str:
        if _SHAPE.fullmatch(text) is None:
            return text
        kind, sizes = text.rsplit(":", 1)
        return kind + ":" + _SIZE.sub(lambda size: f"{self.used(Length.read(size[0], 'Å')):.12g}", sizes)


def given(values: dict[str, Any], pixel_size: PixelSize = None, sides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings that were given on the command line, lengths and the sizes of masks in their own unit.

    The `sides` of boxes (px) that were given in Å become even numbers.

    Raises
    ------
    SettingsError
        A length has the other unit, and there is neither a `pixel_size` (Å, or what looks it up) nor a setting of this
        name.
    """
    converter = _Converter(values.get("pixel_size") or pixel_size)
    there = {name: value for name, value in values.items() if value is not None and value != ()}
    for name, value in there.items():
        if isinstance(value, Length):
            number = converter.used(value)
            there[name] = 2 * round(number / 2) if name in sides and value.unit != "px" else number
        elif name == "mask" and not isinstance(value, str):
            there[name] = tuple(converter.shape(text) for text in value)
    return there


def shapes_in_angstrom(texts: Sequence[str], pixel_size: float) -> list[str]:
    """Return shapes, such as disc:45px or ring:80Ax60A, with plain sizes in Å."""
    return [_Converter(pixel_size).shape(text) for text in texts]


def parse_shape(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read NY,NX."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not NY,NX, rows and columns, such as 4096,5760.", context, option)
    return int(found[1]), int(found[2])


def micrographs_pixel_size(micrographs: Sequence[str | Path], skip: Sequence[str | Path] = ()) -> Callable[[], float]:
    """Return what looks up the pixel size (Å) of micrographs, in their list or headers; it must be the same for all."""

    def look_up() -> float:
        from napari_gempick.evaluation.evaluate import common_pixel_size
        from napari_gempick.io.listing import find_micrographs

        files = find_micrographs(micrographs, skip=skip)
        return common_pixel_size((), files, "px", "--pixel-size, or lengths in Å")

    return look_up


def run_pixel_size(folder: Path) -> Callable[[], float]:
    """Return what looks up the pixel size (Å) of the micrographs of a run; it must be the same for all."""

    def look_up() -> float:
        from napari_gempick.results.run_file import read_run

        sizes = {row["pixel_size"] for row in read_run(folder)["micrographs"] if row.get("pixel_size")}
        if len(sizes) != 1:
            raise SettingsError(f"The micrographs of {folder} do not have one known pixel size; give lengths in Å.")
        return float(sizes.pop())

    return look_up
