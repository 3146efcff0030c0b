"""Values as the command line, JSON and the window write them: one reader and one writer for each kind."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from numbers import Real
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
AUTO = "auto"
LEARNED = "learned"
LOCAL = ("local_mean", "local_sigma", "power")
"""Names of the columns of `Picks.local`, and of the settings that limit them."""


def counted(number: int, what: str) -> str:
    """Return a number of things in words: 1 pick, 2 picks."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def figures(value: float, count: int = 3) -> str:
    """Return a number rounded to some significant figures, without an exponent: 0.05, 1.11, 1,110."""
    return f"{float(f'{value:.{count}g}'):,.12g}"


def number_or_nan(text: str) -> float:
    """Return a text as a number, NaN where it is not one."""
    try:
        return float(text)
    except ValueError:
        return math.nan


class Named(NamedTuple):
    """A text with the name of the view that it is for; None: for all views."""

    name: str | None
    value: str

    @classmethod
    def read(cls, text: str) -> Named:
        """Read `VALUE` or `NAME=VALUE`; a path may contain `=` after a separator."""
        name, separator, value = text.partition("=")
        if separator and name and not any(mark in name for mark in "/\\"):
            return cls(name, value)
        return cls(None, text)

    def __str__(self) -> str:
        return self.value if self.name is None else f"{self.name}={self.value}"


def named_texts(values: Mapping[str, object], form: str = "") -> tuple[str, ...]:
    """Return `NAME=VALUE` for each view, the value written as a format specification says."""
    return tuple(str(Named(name, format(value, form))) for name, value in values.items())


def as_texts(value: Any) -> Any:
    """Return a setting of views as texts; what cannot be one stays as it is.

    A number, a text or a path is for all views, a mapping has the names of views; both may stand in a sequence.
    """
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return tuple(str(Named(str(name), _as_text(one))) for name, one in value.items())
    if isinstance(value, str | PurePath | Real):
        return (_as_text(value),)
    if isinstance(value, list | tuple) and all(isinstance(one, str | PurePath | Real) for one in value):
        return tuple(_as_text(one) for one in value)
    return value


def _as_text(value: Any) -> str:
    return repr(float(value)) if isinstance(value, Real) and not isinstance(value, int) else str(value)


class PerView(Generic[T]):
    """Values of views.

    Parameters
    ----------
    texts : iterable of str
        `VALUE` or `NAME=VALUE`; of two for the same view the later one holds.
    read : callable
        Turns the text of a value into the value; raises ValueError with what is wrong, as it follows the text.
    default : object
        The value of a view that no text is for.
    option : str
        The option that the texts were given with, named in errors.

    Raises
    ------
    ValueError
        A text cannot be read.
    """

    def __init__(self, texts: Iterable[str], read: Callable[[str], T], default: T, option: str) -> None:
        self._texts = [Named.read(text) for text in texts]
        self._values: dict[str | None, T] = {None: default}
        for one in self._texts:
            try:
                self._values[one.name] = read(one.value)
            except ValueError as error:
                raise ValueError(f"{str(one)!r} {error}") from None
        self._option = option

    @property
    def all(self) -> tuple[T, ...]:
        """The values that were given, in no view's order."""
        return tuple(self._values[one.name] for one in self._texts)

    def of(self, view_names: Iterable[str]) -> tuple[T, ...]:
        """Return the value of each view, in their order.

        Raises
        ------
        SettingsError
            A value is for a name that is not a view's.
        """
        names = tuple(view_names)
        for one in self._texts:
            if one.name is not None and one.name not in names:
                raise SettingsError(
                    f"{self._option} {one}: there is no view {one.name!r}; the views are {', '.join(names)}."
                )
        return tuple(self._values.get(name, self._values[None]) for name in names)


def read_threshold(text: str) -> float | None:
    """Read a threshold; None for auto."""
    if text == AUTO:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError("is not a number; write 0.4, NAME=0.4 or auto") from None
    if not -1 <= number <= 1:
        raise ValueError("must lie between -1 and 1")
    return number


def read_fold(text: str) -> int:
    """Read an n-fold symmetry."""
    if not text.isdecimal() or not 1 <= int(text) <= 360:
        raise ValueError("is not a whole number from 1 to 360; write 5, or NAME=5")
    return int(text)


def read_bounds(text: str) -> tuple[float, float]:
    """Read LOWEST,HIGHEST, of which either may be missing."""
    try:
        lowest, highest = text.split(",")
        bounds = float(lowest or "-inf"), float(highest or "inf")
    except ValueError:
        raise ValueError(f"{text!r}: write LOWEST,HIGHEST, such as -1.5,1 or ,2") from None
    if bounds[0] > bounds[1]:
        raise ValueError(f"{text!r}: the lowest value comes first")
    return bounds


def read_grid(text: str) -> Fraction | None:
    """Read the ratio of map pixel to file pixel; `full` is 1, None for auto."""
    word = text.strip().lower()
    if word == AUTO:
        return None
    try:
        ratio = Fraction("1" if word == "full" else text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r}: write auto, full or a ratio such as 2 or 9/4") from None
    if ratio < 1:
        raise ValueError(f"{text!r}: the ratio must be at least 1")
    return ratio.limit_denominator(64)


class Length(NamedTuple):
    """A length as it was given, in px of the micrograph's file or in Å, and the unit in which it is used."""

    value: float
    unit: str
    wanted: str

    @classmethod
    def read(cls, text: str, wanted: str) -> Length:
        """Read a number in the wanted unit, or one that carries its unit, such as 45px, 80A or 80Å."""
        found = re.fullmatch(r"(\S+?)\s*(px|[AÅ\u212b]?)", text.strip(), re.IGNORECASE)
        try:
            value = float(found[1] if found else text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{text!r}: write a number in {wanted}, or one with its unit, such as 45px or 80A")
        unit = found[2].lower() if found else ""
        return cls(value, ("px" if unit == "px" else "Å") if unit else wanted, wanted)

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"

    def used(self, pixel_size: float | None) -> float:
        """Return it in the unit in which it is used.

        Raises
        ------
        SettingsError
            It was given in the other unit, and the pixel size (Å) is unknown.
        """
        if self.unit == self.wanted:
            return self.value
        if pixel_size is None:
            raise SettingsError(f"{self} needs the pixel size; give --pixel-size, or the length in {self.wanted}.")
        value = self.value * pixel_size if self.wanted == "Å" else self.value / pixel_size
        return float(f"{value:.12g}")  # 50 px of 4.4 Å are 220 Å, not 220.00000000000003


_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def read_duration(text: str) -> float:
    """Read a duration, such as 90s, 30m or 2h; return seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)", text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r}: write a number and a unit, such as 90s, 30m or 2h")
    return float(found[1]) * _SECONDS[found[2]]
