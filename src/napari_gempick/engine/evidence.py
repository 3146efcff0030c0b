"""What coordinates point at: averages of particles, on a working grid, and the templates they are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.particles import sample_turned, shrunk
from napari_gempick.model.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_gempick.engine.bank import Bank
    from napari_gempick.model.picks import Places

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
        self._views = _views_of(bank)
        self._round = _round(bank)

    def compare(self, places: Places, *, turned: bool) -> tuple[NDArray[np.float64], int]:
        """Return (sum of products, sums for both norms) of averages and templates, and how many places were inside.

        `turned` takes psi and sections into account.
        """
        ny, nx = self.shape
        inside = (places.x >= 0) & (places.x < nx) & (places.y >= 0) & (places.y < ny)
        total = np.zeros(3)
        groups: Iterable[tuple[_View, NDArray[np.bool_]]] = [(self._round, inside)]
        if turned:
            sections = np.unique(places.section[inside]).tolist()
            groups = [(self._views(section), inside & (places.section == section)) for section in sections]
        for view, which in groups:
            n = int(which.sum())
            if n:
                psi = places.psi[which] if turned else np.zeros(n)
                total += n * view.products(self._average(view, places.x[which], places.y[which], psi))
        return total, int(inside.sum())

    def _average(self, view: _View, x: Floats, y: Floats, psi: Floats) -> NDArray[np.float64]:
        """Return the mean of particles turned back by psi, each with zero mean and unit deviation under the mask."""
        boxes = sample_turned(self._image, self._factor, x, y, psi, view.steps)
        boxes -= (boxes @ view.weights)[:, None]
        deviation = np.sqrt((boxes**2) @ view.weights)
        boxes /= np.where(deviation > 0, deviation, 1.0)[:, None]
        return np.asarray(boxes.mean(axis=0))


@dataclass(frozen=True, eq=False)
class _View:
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
    def of(cls, values: Floats, weights: Floats, centre: tuple[int, int]) -> _View:
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


def _views_of(bank: Bank) -> Callable[[int], _View]:
    """Return what gives the template of a section."""
    made: dict[int, _View] = {}

    def view(section: int) -> _View:
        if section not in made:
            made[section] = _View.of(*_template(bank, section), _centre(bank))
        return made[section]

    return view


def _centre(bank: Bank) -> tuple[int, int]:
    return bank.extent.top, bank.extent.left


def _template(bank: Bank, section: int) -> tuple[Floats, Floats]:
    """Return values and weights of a section, (h, w) each; the bank has their product."""
    weights = np.maximum(bank.mask(int(bank.group_of[section])).astype(np.float64), 0)
    product = bank.template(section).astype(np.float64)
    return np.divide(product, weights, out=np.zeros_like(product), where=weights > _NEGLIGIBLE), weights


def _round(bank: Bank) -> _View:
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
        reach = min(reach, *uncovered.tolist())
    inside = (radius <= reach).astype(np.float64).reshape(rows.shape)
    return _View.of(profile[radius].reshape(rows.shape), inside, (top, left))
