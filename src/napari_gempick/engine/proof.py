"""Do coordinates lie on the particles? Average what they point at, and compare it with the templates.

The particles are cut out of the micrograph, turned back by psi, averaged per template and correlated with it under its
mask: for the coordinates as they are written, and as they would be if x and y were exchanged or flipped (the eight
symmetries of a square), if corners of boxes stood for centres, or if they were counted on a binned grid. Where a file
has no angles, particles are averaged as they lie and compared with the templates averaged over all angles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.model.orientation import Orientation
from napari_gempick.model.picks import Places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.engine.evidence import Evidence

ENOUGH = 8
"""Picks below this prove nothing."""
MOST = 100
"""Picks that are looked at."""
_MARGIN, _LEAST = 0.15, 0.5  # random places reach 0.44 on crowded micrographs


@dataclass(frozen=True)
class Reading:
    """A way to read coordinates.

    Attributes
    ----------
    name : str
        How they then seem to be written, for a sentence: "flipped in y".
    orientation : Orientation
        What takes them to the micrograph.
    shift : (x, y)
        px, added before.
    fix : str
        What to do about it.
    """

    name: str
    orientation: Orientation = field(default_factory=Orientation)
    shift: tuple[float, float] = (0.0, 0.0)
    fix: str = ""


AS_WRITTEN = Reading("as written")
PSI_REVERSED = Reading("with psi counted clockwise", fix="change the sign of psi")
_SQUARE = {
    "flipped in y": Orientation(flip_y=True),
    "flipped in x": Orientation(flip_x=True),
    "turned by 180 degrees": Orientation(flip_x=True, flip_y=True),
    "with x and y exchanged": Orientation(swap=True),
    "turned by 90 degrees counter-clockwise": Orientation(swap=True, flip_x=True),
    "turned by 90 degrees clockwise": Orientation(swap=True, flip_y=True),
    "with x and y exchanged and both flipped": Orientation(swap=True, flip_x=True, flip_y=True),
}


def other_readings(box: float) -> list[Reading]:
    """Return the readings that coordinates are mistaken for; `box` is the size of a box, px."""
    square = [Reading(name, change, fix=f"use {change.options}") for name, change in _SQUARE.items()]
    half = box / 2
    corners = [
        Reading(f"shifted by half a box ({-x * half:+.0f}, {-y * half:+.0f} px)", shift=(x * half, y * half), fix=fix)
        for x, y, fix in (
            (1, 1, "they are corners of boxes: read them with --from box"),
            (-1, -1, "they are not corners of boxes but centres: do not read them as boxes"),
            (1, -1, "they are corners of boxes, at the other end of y"),
            (-1, 1, "they are corners of boxes, at the other end of x"),
        )
    ]
    binned = [
        Reading(f"on a grid {how}", Orientation(scale), fix=f"use {Orientation(scale).options}")
        for scale, how in ((2.0, "twice as coarse"), (0.5, "twice as fine"))
    ]
    return [*square, *corners, *binned]


@dataclass(frozen=True)
class Proof:
    """What came out.

    Attributes
    ----------
    state : {"verified", "wrong", "not verifiable"}
    written, other : float
        Correlation of the average with the templates as written, and in the best other reading; NaN where unknown.
    reading : Reading
        The best other one.
    picks : int
        Looked at.
    why : str
        Why nothing could be verified.
    """

    state: str
    written: float = math.nan
    other: float = math.nan
    reading: Reading = AS_WRITTEN
    picks: int = 0
    why: str = ""

    @property
    def sentence(self) -> str:
        """One line for the user, without a full stop."""
        if math.isnan(self.written):
            return f"{self.state}: {self.why}"
        numbers = f"as written {self.written:.2f}, best other {self.other:.2f}"
        if self.state == "verified":
            return f"verified: {numbers}"
        return f"{self.state}: {numbers} ({self.reading.name})" + (f": {self.why}" if self.why else "")


def prove(evidence: Sequence[tuple[Evidence, Places]], box: float) -> Proof:
    """Compare the coordinates of one or more micrographs as written with other readings.

    Parameters
    ----------
    evidence : sequence of (Evidence, Places)
        Places as the file gives them under its convention.
    box : float
        Size of a box, px.

    Returns
    -------
    Proof
        "verified" where the average as written fits clearly better than in every other reading; "wrong" where another
        fits clearly better; else "not verifiable".
    """
    pairs = [(one, _first(places, max(1, MOST // len(evidence)))) for one, places in evidence]
    count = sum(len(places) for _, places in pairs)
    if count < ENOUGH:
        return Proof("not verifiable", picks=count, why=f"{count} picks are too few")
    turned = all(np.isfinite(places.psi).all() and (places.section >= 0).all() for _, places in pairs)
    written = _fit(pairs, AS_WRITTEN, turned, count)
    others = [(_fit(pairs, reading, turned, count), reading) for reading in other_readings(box)]
    other, reading = max(others, key=lambda pair: pair[0])
    if turned:
        clockwise = _fit(pairs, PSI_REVERSED, True, count, reverse=True)
        if clockwise > max(written + _MARGIN, other, _LEAST):
            return Proof("wrong", written, clockwise, PSI_REVERSED, count)
    if other >= max(written + _MARGIN, _LEAST):
        return Proof("wrong", written, other, reading, count)
    if written >= max(other + _MARGIN, _LEAST):
        return Proof("verified", written, other, reading, count)
    return Proof("not verifiable", written, other, reading, count, "no reading fits clearly better than the others")


def _first(places: Places, count: int) -> Places:
    return Places(places.x[:count], places.y[:count], places.psi[:count], places.section[:count])


def _fit(
    pairs: Sequence[tuple[Evidence, Places]], reading: Reading, turned: bool, count: int, *, reverse: bool = False
) -> float:
    """Return the correlation of averages and templates; 0 where most places lie outside."""
    best = 0.0
    # who flips positions may forget psi: other readings are tried with psi as it stands as well
    changes = turned and (reading.orientation.flip_x or reading.orientation.flip_y or reading.orientation.swap)
    for with_psi in (True, False) if changes else (True,):
        total, inside = np.zeros(3), 0
        for one, places in pairs:
            x, y, psi = reading.orientation.carry(
                places.x + reading.shift[0], places.y + reading.shift[1], places.psi, one.shape
            )
            psi = -places.psi if reverse else psi if with_psi else places.psi
            products, n = one.compare(Places(x, y, psi, places.section), turned=turned)
            total, inside = total + products, inside + n
        if inside >= max(ENOUGH, count) / 2 and total[1] > 0:
            best = max(best, float(total[0] / math.sqrt(total[1] * total[2])))
    return best
