"""Position and angle of candidates between the pixels and the angles that were searched.

Around a candidate the masked NCC is computed at 7 x 7 positions and five angles of its own template, by small Fourier
transforms. All that these hold is band-limited, so the scores between the pixels follow from it. The largest one at
each angle gives a position there, the three best neighbours among the angles give psi, and psi gives the position.
Where another angle wins at a neighbouring pixel, as with particles that look alike upside down, both are refined and
the better one is kept.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from napari_gempick.device.thread_rules import one_thread
from napari_gempick.engine.preprocess.fourier_filters import RINGING
from napari_gempick.engine.templates.angle_steps import half_crowther
from napari_gempick.engine.tiles import FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.score_maps import ScoreMap

REACH = 1
"""Map pixels by which a candidate may move along y and along x."""
PARTS = 3
"""Positions tried within a map pixel, along y and along x."""
ANGLES = 2
"""Angles tried on each side of the one that was found."""
GUARD = 1
"""Map pixels around those, where the periods of the small transforms meet."""
CONTINUOUS = 1.25
"""Times half of Crowther's angle up to which the best positions at neighbouring angles follow one another."""
RIVAL = 0.06
"""The angle of a neighbouring pixel competes if its score lies no further below the candidate's than this."""
TAIL = 1
"""Map pixels around a mask's support that count on a cropped grid; what rings beyond is negligible here."""
VALUES = 2**21
"""Pixels of all the small windows that are held at a time."""


class PoseRefiner:
    """Refines the candidates of one micrograph.

    Parameters
    ----------
    prepared : Prepared
        The micrograph as it was searched.
    bank : Bank
        That it was searched with.
    """

    def __init__(self, prepared: Prepared, bank: Bank) -> None:
        self._prepared, self._bank = prepared, bank
        cut = RINGING - TAIL if bank.extent.top >= RINGING and prepared.margin else 0
        height, width = bank.extent.box
        self._inner = slice(cut, height - cut), slice(cut, width - cut)
        around = REACH + GUARD
        self._before = bank.extent.top - cut + around, bank.extent.left - cut + around
        self._shape = (
            scipy.fft.next_fast_len(height - 2 * cut + 2 * around, real=True),
            scipy.fft.next_fast_len(width - 2 * cut + 2 * around, real=True),
        )
        self._offsets = np.arange(-REACH * PARTS, REACH * PARTS + 1) / PARTS
        self._products = _Between(self._shape, self._offsets, 1 / bank.detail)
        self._sums = _Between(self._shape, self._offsets, min(0.5, 2 / bank.detail))
        self._continuous, self._spacing = False, 0.0
        self._angles, self._turns = self._neighbours()

    def _neighbours(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return rotations and angles from each of the bank's, (views, rotations, 5); NaN where there is none."""
        index, bank = self._bank.index, self._bank
        own = np.arange(index.n_rotations) * float(index.angle_step)
        n_views, places = len(index.view_names), np.arange(-ANGLES, ANGLES + 1)
        rotations = np.zeros((n_views, len(own), len(places)), np.int64)
        turns = np.full(rotations.shape, np.nan)
        rotations[:], turns[..., ANGLES] = np.arange(len(own))[:, None], 0.0
        if len(own) == 1:
            return rotations, turns
        across = 2 * math.sqrt(max(group.area for group in bank.groups) / math.pi)
        fine = half_crowther(bank.detail, across)
        spacing = index.angle_step * max(1, round(fine / index.angle_step))
        self._continuous, self._spacing = spacing < CONTINUOUS * fine, spacing
        whole = index.angle_range == 360
        for view, fold in enumerate(index.folds or (1,) * n_views):
            period = 360.0 / fold
            searched = np.nonzero(own < period - 1e-6)[0] if whole else np.nonzero(own < min(period, 360) - 1e-6)[0]
            away = own[searched][None, None] - (own[:, None] + spacing * places)[..., None]
            if whole:
                away = (away + period / 2) % period - period / 2
            nearest = np.abs(away).argmin(axis=2)
            turn = np.take_along_axis(away, nearest[..., None], axis=2)[..., 0]
            fits = (np.abs(turn) < 0.4 * spacing) & (np.abs(places) * spacing < period / 2)
            rotations[view] = np.where(fits, searched[nearest], rotations[view])
            turns[view] = np.where(fits, turn + spacing * places, np.nan)
            turns[view][:, ANGLES] = 0.0
        return rotations, turns

    def __call__(self, picks: Picks, wanted: NDArray[np.bool_], maps: ScoreMap | None = None) -> Picks:
        """Return the picks with x, y and psi refined where `wanted` says, (n,) bool, and their scores there.

        `score` and the positions on the map stay: they are what was searched. `refined_score` is NaN elsewhere. With
        the `maps` that they come from, another angle that is best at a neighbouring pixel competes with their own.
        """
        rivals = np.full(len(picks), -1, np.int32) if maps is None else self._rivals(picks, maps)
        chosen = np.nonzero(wanted & (picks.k >= 0))[0]
        chosen = chosen[np.argsort(picks.k[chosen], kind="stable")]
        x, y, psi = picks.x.copy(), picks.y.copy(), picks.psi.copy()
        score = np.full(len(picks), np.nan, np.float32)
        at_once = max(1, VALUES // (8 * self._shape[0] * self._shape[1]))
        ratio = float(self._prepared.grid.ratio)
        for first in range(0, len(chosen), at_once):
            some = chosen[first : first + at_once]
            at = picks.map_y[some], picks.map_x[some], picks.k[some], picks.view[some]
            with one_thread():
                found = self._better(at, rivals[some])
            y[some], x[some], psi[some] = found[0] * ratio, found[1] * ratio, found[2]
            score[some] = np.clip(np.maximum(found[3], picks.score[some]), -1, 1)
        return replace(picks, x=x, y=y, psi=psi, refined_score=score)

    def _better(self, at: tuple[NDArray[np.int32], ...], rivals: NDArray[np.int32]) -> tuple[NDArray[np.float64], ...]:
        """Return map row, map column, psi and score of candidates, of their own angle or the rival's."""
        found = self._some(*at)
        two = rivals >= 0
        if two.any():
            other = self._some(at[0][two], at[1][two], rivals[two], at[3][two])
            better = other[3] > found[3][two]
            for mine, theirs in zip(found, other, strict=True):
                mine[two] = np.where(better, theirs, mine[two])
        return found

    def _rivals(self, picks: Picks, maps: ScoreMap) -> NDArray[np.int32]:
        """Return the best k around each pick, of its template at an angle that was not tried; -1 for none."""
        index = self._bank.index
        period = np.array([360.0 / fold for fold in index.folds or (1,) * len(index.view_names)])[picks.view]
        best, rivals = picks.score - np.float32(RIVAL), np.full(len(picks), -1, np.int32)
        ny, nx = maps.score.shape
        for dy, dx in ((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx):
            y, x = np.clip(picks.map_y + dy, 0, ny - 1), np.clip(picks.map_x + dx, 0, nx - 1)
            k, score = maps.index[y, x], maps.score[y, x]
            away = np.abs(index.psi(k) - picks.psi) % period
            far = np.minimum(away, period - away) > (ANGLES + 0.5) * self._spacing
            better = (k >= 0) & far & (index.section(k) == picks.section) & (score > best)
            best, rivals = np.where(better, score, best), np.where(better, k, rivals)
        return rivals

    def _turned(
        self, psi: NDArray[np.float64], turn: NDArray[np.float64], view: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Return angles after a turn, within the period of their view."""
        index = self._bank.index
        if index.angle_range != 360:
            return psi + turn
        period = 360.0 / np.array(index.folds or (1,) * len(index.view_names))[view]
        turned: NDArray[np.float64] = (psi + turn) % period
        return np.where(turned >= period, 0.0, turned)

    def _some(
        self, map_y: NDArray[np.int32], map_x: NDArray[np.int32], k: NDArray[np.int32], view: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], ...]:
        """Return map row, map column, psi and score of some candidates."""
        section, rotation = np.divmod(k, self._bank.index.n_rotations)
        turns = self._turns[view, rotation]
        ks = section[:, None] * self._bank.index.n_rotations + self._angles[view, rotation]
        known = np.isfinite(turns)
        row, column, value = self._peaks(map_y, map_x, ks, known)
        best = np.argmax(np.where(known, value, -np.inf), axis=1)
        each = np.arange(len(k))
        sides = np.clip(np.stack([best - 1, best, best + 1]), 0, 2 * ANGLES)
        inside = (best > 0) & (best < 2 * ANGLES) & known[each, sides[0]] & known[each, sides[2]]
        at = [turns[each, side] for side in sides]
        turn, top = _parabola(at, [value[each, side] for side in sides], inside)
        moved = []
        for axis in (row, column):
            places = [axis[each, side] for side in sides]
            near = np.abs(places[0] - places[1]) + np.abs(places[2] - places[1]) < 1.5  # one peak, not two
            moved.append(np.where(inside & near & self._continuous, _through(at, places, turn), places[1]))
        return moved[0], moved[1], self._turned(self._bank.index.psi(k), turn, view), top

    def _peaks(
        self,
        map_y: NDArray[np.int32],
        map_x: NDArray[np.int32],
        ks: NDArray[np.int64],
        known: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return row, column and height of the peak at each angle of each candidate, (n, 5) each."""
        bank, grid = self._bank, self._prepared.grid
        values = self._scores(map_y, map_x, ks)
        groups = bank.group_of[ks]
        spans = [grid.scored(group.extent) for group in bank.groups]
        for axis, at in ((0, map_y), (1, map_x)):
            start, stop = (np.array([getattr(span[axis], end) for span in spans])[groups] for end in ("start", "stop"))
            place = at[:, None, None] + self._offsets
            outside = (place < start[..., None]) | (place > stop[..., None] - 1)
            if outside.any():
                values[np.broadcast_to(outside[..., None] if axis == 0 else outside[:, :, None], values.shape)] = -2.0
        values[~known] = -2.0
        size = len(self._offsets)
        place = np.argmax(values.reshape(*ks.shape, -1), axis=2)
        i, j = place // size, place % size
        n, a = (axis for axis in np.indices(ks.shape))
        top = values[n, a, i, j]
        moves = []
        for down, across in ((1, 0), (0, 1)):
            ends = [(np.clip(i + s * down, 0, size - 1), np.clip(j + s * across, 0, size - 1)) for s in (-1, 1)]
            before, after = (values[n, a, one, other] for one, other in ends)
            middle = i if down else j
            inside = (middle > 0) & (middle < size - 1) & (np.minimum(before, after) > -2)
            shift, height = _parabola([-1.0, 0.0, 1.0], [before, values[n, a, i, j], after], inside)
            moves.append(self._offsets[middle] + shift / PARTS)
            top = top + np.where(inside, height - values[n, a, i, j], 0)
        return map_y[:, None] + moves[0], map_x[:, None] + moves[1], top

    def _scores(self, map_y: NDArray[np.int32], map_x: NDArray[np.int32], ks: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores around each candidate between the pixels, (n, 5, 7, 7)."""
        bank, prepared = self._bank, self._prepared
        blocks = self._blocks(prepared.image, map_y, map_x)
        blocks -= blocks.mean(axis=(1, 2), keepdims=True)
        squares = blocks * blocks
        if prepared.square_correction is not None:
            squares += self._blocks(prepared.square_correction, map_y, map_x)
        image = scipy.fft.rfft2(blocks)
        templates, of_template = np.unique(ks, return_inverse=True)
        spectra = self._products.cut(self._spectra([bank.template(int(k)) for k in templates]))
        here = self._products.cut(image)
        found = self._products(here[:, None] * spectra[of_template.reshape(ks.shape)])

        candidates = np.broadcast_to(np.arange(len(ks))[:, None], ks.shape)
        number = len(bank.groups) * candidates + bank.group_of[ks]
        pairs, of_pair = np.unique(number, return_inverse=True)
        candidate, group = np.divmod(pairs, len(bank.groups))
        masks, of_mask = np.unique(group, return_inverse=True)
        spectra = self._sums.cut(self._spectra([bank.mean_weights(int(g)) for g in masks]))[of_mask]
        mean = self._sums(self._sums.cut(image)[candidate] * spectra)
        variance = self._sums(self._sums.cut(scipy.fft.rfft2(squares))[candidate] * spectra) - mean * mean
        least = np.float32(FLOOR * FLOOR)
        scale = np.where(variance > least, 1 / np.sqrt(np.maximum(variance, least)), np.float32(0))
        found *= scale[of_pair.reshape(ks.shape)]
        return found

    def _blocks(
        self, image: NDArray[np.float32], map_y: NDArray[np.int32], map_x: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Return the image around each candidate, (n, *shape); its edge pixels are repeated beyond it."""
        corners, inside = [], np.ones(len(map_y), bool)
        for at, before, length, size in zip((map_y, map_x), self._before, self._shape, image.shape, strict=True):
            corners.append(at - before + self._prepared.margin)
            inside &= (corners[-1] >= 0) & (corners[-1] <= size - length)
        found = np.empty((len(map_y), *self._shape), image.dtype)
        if min(n - length for n, length in zip(image.shape, self._shape, strict=True)) >= 0:
            windows = np.lib.stride_tricks.sliding_window_view(image, self._shape)
            found[inside] = windows[corners[0][inside], corners[1][inside]]
        rows, columns = (
            np.clip(corner[~inside, None] + np.arange(length), 0, size - 1)
            for corner, length, size in zip(corners, self._shape, image.shape, strict=True)
        )
        found[~inside] = image[rows[:, :, None], columns[:, None, :]]
        return found

    def _spectra(self, arrays: list[NDArray[Any]]) -> NDArray[np.complex64]:
        """Return the conjugate half-spectra of templates or masks of the bank's box."""
        cut = np.stack([array[self._inner] for array in arrays]).astype(np.float32)
        found: NDArray[np.complex64] = np.conjugate(scipy.fft.rfft2(cut, s=self._shape))
        return found


class _Between:
    """Values of correlations between the pixels, from the part of their spectra below a frequency (1 / pixel)."""

    def __init__(self, shape: tuple[int, int], offsets: NDArray[np.float64], highest: float) -> None:
        down, across = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
        self._rows, self._columns = np.nonzero(np.abs(down) <= highest)[0], np.nonzero(across <= highest)[0]
        waves = []
        for frequency in (down[self._rows], across[self._columns]):
            phase = 2 * np.pi * frequency * (GUARD + REACH + offsets[:, None])
            nyquist = np.abs(frequency) == 0.5  # has no sign
            waves.append(np.where(nyquist, np.cos(phase), np.exp(1j * phase)))
        twice = np.where((across[self._columns] == 0) | (across[self._columns] == 0.5), 1, 2)
        down = np.stack([waves[0].real.T, -waves[0].imag.T], axis=1) / (shape[0] * shape[1])
        self._down = np.ascontiguousarray(down.reshape(-1, len(offsets)), np.float32)
        self._across = np.ascontiguousarray((waves[1] * twice).T, np.complex64)

    def cut(self, spectra: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return the part of half-spectra (..., y, x) that counts."""
        part: NDArray[np.complex64] = spectra[..., self._rows[:, None], self._columns]
        return part

    def __call__(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Return the values of cut spectra (..., y, x) at all pairs of offsets, (..., 7, 7)."""
        *many, rows, columns = spectra.shape
        across = (spectra.reshape(-1, columns) @ self._across).reshape(-1, rows, self._across.shape[1])
        parts = np.ascontiguousarray(across.swapaxes(1, 2)).view(np.float32)  # real, imaginary, real, ...
        values: NDArray[np.float32] = parts.reshape(-1, 2 * rows) @ self._down
        return np.ascontiguousarray(values.reshape(*many, self._across.shape[1], -1).swapaxes(-1, -2))


def _parabola(at: Any, values: Any, inside: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return place and height of the vertex through three values; the middle one where not `inside` or not a peak.

    The vertex is kept half-way to the neighbours.
    """
    (a, b, c), (left, middle, right) = at, values
    before, after = np.where(inside, b - a, 1.0), np.where(inside, c - b, 1.0)
    rise, fall = (middle - left) / before, (middle - right) / after
    curvature = (rise + fall) / (before + after)
    peak = inside & (curvature > 0) & np.isfinite(curvature)
    slope = (rise * after - fall * before) / (before + after)
    shift = np.where(peak, slope / (2 * np.where(peak, curvature, 1.0)), 0.0)
    shift = np.clip(shift, -before / 2, after / 2)
    return np.where(peak, b + shift, b), np.where(peak, middle + slope * shift - curvature * shift * shift, middle)


def _through(at: Any, values: Any, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the value at `place` of the parabola through three values."""
    (a, b, c), (left, middle, right) = at, values
    shift, before, after = place - b, b - a, c - b
    with np.errstate(invalid="ignore", divide="ignore"):
        rise, fall = (middle - left) / before, (middle - right) / after
        slope = (rise * after - fall * before) / (before + after)
        found: NDArray[np.float64] = middle + slope * shift - (rise + fall) / (before + after) * shift * shift
    return found
