"""What tells micrographs apart: numbers of each for a table, and a choice that spans them. No Qt, no napari."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from psygnal import Signal

from napari_gempick.io.micrograph_names import MicrographTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.state.controller import Controller

COLUMNS = {
    "picks": ("Picks", 0),
    "mean": ("Mean score", 2),
    "best": ("Best score", 2),
    "false": ("False %", 1),
    "defocus": ("Defocus µm", 2),
    "fit": ("CTF fit Å", 1),
    "excluded": ("Excluded %", 1),
}
"""Heading and digits of each number."""
SPREAD = 6
"""Micrographs that a spread takes."""


@dataclass(frozen=True)
class Numbers:
    """A line of the table.

    Attributes
    ----------
    kept : bool
        It is not rejected.
    values : mapping of str to float
        By the names of COLUMNS; NaN where nothing is known.
    """

    kept: bool
    values: Mapping[str, float]


class Details(NamedTuple):
    """What else is known of the picks of a micrograph.

    Attributes
    ----------
    mean : float
        Score of those that were found; NaN without any.
    excluded : float
        Share of the area where none may lie, 0 to 1; NaN before a search.
    by_view : tuple of int
        How many were found of each view of the search.
    """

    mean: float = math.nan
    excluded: float = math.nan
    by_view: tuple[int, ...] = ()


def numbers_of(
    controller: Controller,
    counts: Mapping[str, int],
    details: Mapping[str, Details],
    ctf: Mapping[str, tuple[float, float]],
    shares: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Numbers]:
    """Return a line for each micrograph of the list, by its stem.

    Parameters
    ----------
    counts, details : mapping
        Of the PickCounter.
    ctf : mapping
        Defocus and fit, of `read_ctf_values`.
    shares : mapping
        Of FalseShares.
    """
    found = {}
    for file in controller.state.files:
        stem = file.output_stem
        result = controller.results.get(stem)
        row = {} if result is None or result.error else result.row
        mean, excluded = details[stem][:2] if stem in details else (math.nan, math.nan)
        defocus, fit = ctf.get(stem, (math.nan, math.nan))
        values = {
            "picks": float(counts.get(stem, math.nan)),
            "mean": mean,
            "best": float(row.get("best_score") or math.nan),
            "false": _percent(shares.get(stem, math.nan)),
            "defocus": defocus,
            "fit": fit,
            "excluded": _percent(excluded),
        }
        found[stem] = Numbers(stem not in controller.state.rejected, values)
    return found


def _percent(share: float) -> float:
    return math.nan if math.isnan(share) else 100 * share  # one NaN: lines that say the same are equal


def read_ctf_values(star: Path, files: Sequence[MicrographFile]) -> dict[str, tuple[float, float]]:
    """Return mean defocus (µm) and resolution of the CTF fit (Å) by stem, as a STAR file of micrographs gives them.

    Raises
    ------
    InputError
        The file cannot be read, or lists no micrographs.
    """
    table, found = MicrographTable(star), {}
    for file in files:
        known = table.find((*file.path.parts[:-1], file.stem))
        if known is not None:
            row = known[0]
            u, v, fit = (_number(row.get(name)) for name in ("rlnDefocusU", "rlnDefocusV", "rlnCtfMaxResolution"))
            found[file.output_stem] = ((u + (u if math.isnan(v) else v)) / 2e4, fit)
    return found


class CtfValues:
    """Defocus and CTF fit by stem, read in the background, once for each file and list of micrographs."""

    changed = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._star: Path | None = None
        self._read_of: Any = None
        self.values: dict[str, tuple[float, float]] = {}
        controller.folder_changed.connect(self._forget)

    def _forget(self) -> None:
        self._star = None
        self.read()

    def read_star(self, path: Path) -> None:
        """Take them from a STAR file, in place of the one that the search is set to."""
        self._star, self._read_of = path, None
        self.read()

    def read(self) -> None:
        """Read them where the file or the list is another one; `changed` follows."""
        path = str(self._star or self._controller.state.values.get("ctf") or "")
        files = self._controller.state.files
        key = path, files
        if key == self._read_of:
            return
        if not path.endswith(".star"):
            self._read_of = key
            if self.values:
                self.values = {}
                self.changed.emit()
            return
        self._read_of = key

        def take(found: dict[str, tuple[float, float]]) -> None:
            if key == self._read_of:
                self.values = found
                self.changed.emit()

        self._controller.background.do(lambda: read_ctf_values(Path(path), files), take)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def spread_of(numbers: Mapping[str, Numbers]) -> list[str]:
    """Return micrographs that are not rejected and span the defocus, or the picks where no defocus is known."""
    kept = {stem: one.values for stem, one in numbers.items() if one.kept}
    name = "defocus" if any(not math.isnan(values["defocus"]) for values in kept.values()) else "picks"
    return spread({stem: values[name] for stem, values in kept.items()})


def spread(values: Mapping[str, float], count: int = SPREAD) -> list[str]:
    """Return the stems of up to `count` micrographs whose values lie evenly from the lowest to the highest."""
    known = sorted((value, stem) for stem, value in values.items() if not math.isnan(value))
    if len(known) <= count:
        return [stem for _, stem in known]
    wanted = np.linspace(known[0][0], known[-1][0], count)
    left, chosen = list(known), []
    for value in wanted:
        nearest = min(left, key=lambda one: abs(one[0] - value))
        left.remove(nearest)
        chosen.append(nearest)
    return [stem for _, stem in sorted(chosen)]
