"""Do coordinates lie on the particles? Average what they point at, and compare it with the templates.

The particles are cut out of the micrograph, turned back by psi, averaged per template and correlated with it under its
mask: for the coordinates as they are written, and as they would be if x and y were exchanged or flipped (the eight
symmetries of a square), if corners of boxes stood for centres, or if they were counted on a binned grid. Where a file
has no angles, particles are averaged as they lie and compared with the templates averaged over all angles.

What coordinates point at: averages of particles, on a working grid, and the templates they are compared with.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.extraction.cut import sample_turned, shrunk
from napari_gempick.model.geometry import Grid, Orientation
from napari_gempick.model.picks import Places
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.templates.bank import Bank

    Floats = NDArray[np.float64]

_PIXELS_ACROSS = 28
_NEGLIGIBLE = 1e-3  # of a mask's weight
_COVERED = 0.3  # of a circle, by the mask


class Evidence:
    """A micrograph in which particles are looked for.

    Parameters
    ----------
    image : (ny, nx) array
        Any real dtype, finite.
    pixel_size : float
        Å.
    make_bank : callable
        Returns the bank (one rotation per section) for a Grid.
    diameter : float
        The particle's, Å.
    """

    def __init__(
        self, image: NDArray[Any], pixel_size: float, make_bank: Callable[[Grid], Bank], diameter: float
    ) -> None:
        self.shape, self.pixel_size = (int(image.shape[0]), int(image.shape[1])), pixel_size
        factor = max(1, int(diameter / pixel_size / _PIXELS_ACROSS))
        self._factor = factor
        self._image = shrunk(image, factor)
        bank = make_bank(Grid(self.shape, pixel_size, Fraction(factor)))
        self._views = functools.cache(lambda section: _GridTemplate.of(*_template(bank, section), _centre(bank)))
        self._round = _round(bank)

    def compare(self, places: Places, *, turned: bool) -> tuple[NDArray[np.float64], int]:
        """Return (sum of products, sums for both norms) of averages and templates, and how many places were inside.

        `turned` takes psi and sections into account.
        """
        ny, nx = self.shape
        inside = (places.x >= 0) & (places.x < nx) & (places.y >= 0) & (places.y < ny)
        total = np.zeros(3)
        groups: Iterable[tuple[_GridTemplate, NDArray[np.bool_]]] = [(self._round, inside)]
        if turned:
            sections = np.unique(places.section[inside]).tolist()
            groups = [(self._views(section), inside & (places.section == section)) for section in sections]
        for view, which in groups:
            n = int(which.sum())
            if n:
                psi = places.psi[which] if turned else np.zeros(n)
                total += n * view.products(self._average(view, places.x[which], places.y[which], psi))
        return total, int(inside.sum())

    def _average(self, view: _GridTemplate, x: Floats, y: Floats, psi: Floats) -> NDArray[np.float64]:
        """Return the mean of particles turned back by psi, each with zero mean and unit deviation under the mask."""
        boxes = sample_turned(self._image, self._factor, x, y, psi, view.steps)
        boxes -= (boxes @ view.weights)[:, None]
        deviation = np.sqrt((boxes**2) @ view.weights)
        boxes /= np.where(deviation > 0, deviation, 1.0)[:, None]
        return np.asarray(boxes.mean(axis=0))


@dataclass(frozen=True, eq=False)
class _GridTemplate:
    """A template on the working grid: its n pixels under the mask.

    Attributes
    ----------
    steps : (2, n)
        Where they lie, y and x about the centre.
    values : (n,)
        With zero mean and unit deviation under the weights.
    weights : (n,)
        They add up to 1.
    """

    steps: Floats
    values: Floats
    weights: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats, centre: tuple[int, int]) -> _GridTemplate:
        """Return the view of an image (h, w) under weights of that shape."""
        rows, columns = np.nonzero(weights > _NEGLIGIBLE * weights.max())
        values, weights = values[rows, columns], weights[rows, columns] / weights[rows, columns].sum()
        values = values - values @ weights
        values /= math.sqrt(float((values**2) @ weights)) or 1.0
        return cls(np.stack((rows - centre[0], columns - centre[1])).astype(np.float64), values, weights)

    def products(self, average: Floats) -> Floats:
        """Return what a correlation is made of: the product, and both squares."""
        average = average - average @ self.weights
        return np.array([(average * self.values) @ self.weights, (average**2) @ self.weights, 1.0])


def _centre(bank: Bank) -> tuple[int, int]:
    return bank.extent.top, bank.extent.left


def _template(bank: Bank, section: int) -> tuple[Floats, Floats]:
    """Return values and weights of a section, (h, w) each; the bank has their product."""
    weights = np.maximum(bank.mask(int(bank.group_of[section])).astype(np.float64), 0)
    product = bank.template(section).astype(np.float64)
    return np.divide(product, weights, out=np.zeros_like(product), where=weights > _NEGLIGIBLE), weights


def _round(bank: Bank) -> _GridTemplate:
    """Return the mean of all views, each averaged over all angles, in the largest circle that the masks cover."""
    top, left = _centre(bank)
    rows, columns = np.mgrid[: bank.extent.box[0], : bank.extent.box[1]]
    radius = np.rint(np.hypot(rows - top, columns - left)).astype(int).ravel()
    reach = min(top, left, bank.extent.bottom, bank.extent.right)
    profile = np.zeros(radius.max() + 1)
    names = bank.index.view(np.arange(bank.index.n_sections, dtype=np.int32))
    for section in range(bank.index.n_sections):
        values, weights = (image.ravel() for image in _template(bank, section))
        known = np.bincount(radius, weights)
        sums = np.bincount(radius, values * weights)
        mean = np.divide(sums, known, out=np.zeros_like(sums), where=known > 0)
        profile += mean / np.count_nonzero(names == names[section])
        uncovered = np.nonzero(known / np.bincount(radius) < _COVERED)[0]
        reach = min([reach, *uncovered.tolist()])
    inside = (radius <= reach).astype(np.float64).reshape(rows.shape)
    return _GridTemplate.of(profile[radius].reshape(rows.shape), inside, (top, left))


ENOUGH = 8
"""Picks below this prove nothing."""
MOST = 100
"""How many picks are checked."""
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
        numbers = f"correlation with the template {self.written:.2f} (next best convention: {self.other:.2f})"
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
        are = "is" if count == 1 else "are"
        return Proof("not verifiable", picks=count, why=f"{counted(count, 'pick')} {are} too few")
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
