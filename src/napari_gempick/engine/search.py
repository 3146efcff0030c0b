"""One micrograph against one bank: tiles, the queue of search images, and the maps that all workers raise."""

from __future__ import annotations

import functools
import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.cpu import raise_maps
from napari_gempick.engine.tiles import PrecisionRule, choose_fft_shape, layout
from napari_gempick.model.errors import InputError
from napari_gempick.model.scores import ScoreMap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.bank import Bank
    from napari_gempick.engine.prepare import Prepared
    from napari_gempick.engine.tiles import Precision

    Maps = tuple[NDArray[Any], ...]
    ShapeChooser = Callable[[str, Callable[[], tuple[int, int]]], tuple[int, int]]

UNSCORED = np.float32(-2)
SHARED_FROM = 12
"""Masks that this many search images share have their local statistics kept, the others computed with each piece."""
PIECE_LEAST, OWN_MOST = 4, 8
OWN = -1
"""The queue of search images whose masks few or none share."""


@dataclass(frozen=True, eq=False)
class _Raw:
    """Largest unscaled correlation of a tile and its k (a second pair for inverted contrast), 1 / local deviation."""

    maps: Maps
    sigma: NDArray[np.float32]


class Search:
    """One micrograph against one bank; holds what the workers share.

    Parameters
    ----------
    prepared : Prepared
        The micrograph on the searched grid.
    bank : Bank
        Search images on the same grid.
    tile_shape : callable, optional
        `tile_shape(key, choose)` returns the stored transform lengths of this problem (see device.plan.PlanStore).
    view : int, optional
        Search this view alone.
    decoys : bool
        Keep the maps of the inverted contrast as well: the largest negated score at each position.

    Raises
    ------
    InputError
        No position of the micrograph holds the whole support of any mask.
    """

    def __init__(
        self,
        prepared: Prepared,
        bank: Bank,
        tile_shape: ShapeChooser | None = None,
        *,
        view: int | None = None,
        decoys: bool = False,
    ) -> None:
        self.bank, self._prepared = bank, prepared
        self._scored = [prepared.grid.scored(group.extent) for group in bank.groups]
        spans = [both for both in self._scored if both[0].start < both[0].stop and both[1].start < both[1].stop]
        rows, columns = (
            slice(min((s.start for s in axis), default=0), max((s.stop for s in axis), default=0))
            for axis in ([both[0] for both in spans], [both[1] for both in spans])
        )
        positions = (rows.stop - rows.start, columns.stop - columns.start)
        box = bank.extent.box
        if min(positions) < 1:
            spacing, shape = prepared.grid.map_pixel_size, prepared.grid.shape
            raise InputError(
                f"The masked template ({box[1] * spacing:.0f} x {box[0] * spacing:.0f} Å) is larger than the "
                f"micrograph ({shape[1] * spacing:.0f} x {shape[0] * spacing:.0f} Å); "
                "check both pixel sizes or give a smaller mask."
            )
        key = f"{positions[0]}x{positions[1]}+{box[0]}x{box[1]}"
        choose = functools.partial(choose_fft_shape, positions, box)
        self.fft_shape = choose() if tile_shape is None else tile_shape(key, choose)
        self.valid = (self.fft_shape[0] - box[0] + 1, self.fft_shape[1] - box[1] + 1)
        self.tiles = layout(rows, columns, bank.extent, self.fft_shape)
        inside = slice(prepared.margin, -prepared.margin or None)
        self._rule = PrecisionRule(prepared.image[inside, inside], bank.core, max(group.area for group in bank.groups))
        self.shared_groups = frozenset(g for g, group in enumerate(bank.groups) if len(group.ks) >= SHARED_FROM)
        self.pairs = 2 if decoys else 1
        shape = prepared.grid.shape
        self._maps = [(np.full(shape, UNSCORED, np.float32), np.full(shape, -1, np.int32)) for _ in range(self.pairs)]
        self._guards = [threading.Lock() for _ in self.tiles]
        self._lock = threading.Lock()
        self._raw: dict[tuple[int, int], _Raw] = {}
        views = bank.index.view(np.arange(len(bank.index), dtype=np.int32))
        wanted = bank.index.searched() & (True if view is None else views == view)
        chosen = [[int(k) for k in group.ks if wanted[k]] for group in bank.groups]
        self._first = {g: ks[0] for g, ks in enumerate(chosen) if ks and g in self.shared_groups}
        self._left = {g: len(chosen[g]) for g in self._first}
        self._queues = {g: deque(chosen[g]) for g in self._first}
        self._queues[OWN] = deque(k for g, ks in enumerate(chosen) if g not in self.shared_groups for k in ks)
        self.total, self.done = sum(len(ks) for ks in chosen), 0

    def block(self, tile: int) -> NDArray[np.float64]:
        """Return the centred input of a tile, (fy, fx) float64."""
        return self.tiles[tile].block(self._prepared.image, self.fft_shape, margin=self._prepared.margin)

    def squares(self, tile: int, block: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the squares of a tile's centred input, (fy, fx) float64, as their sums under a mask need them."""
        correction = self._prepared.square_correction
        if correction is None:
            return block * block
        margin = self._prepared.margin
        return block * block + self.tiles[tile].block(correction, self.fft_shape, margin=margin, centre=False)

    def precision(self, tile: int, block: NDArray[np.float64]) -> Precision:
        """Return the precisions that a tile needs."""
        return self._rule(block, self.tiles[tile])

    def take(self, workers: int, most: int) -> tuple[int, ...]:
        """Return the next search images for one of so many `workers`, ascending, at most `most`; none at the end.

        They share one mask whose statistics are kept, or are of masks with few templates. The pieces get smaller
        towards the end, so that all workers end together; no result depends on how the bank was cut.
        """
        share = 1 if workers == 1 else 2 * workers
        with self._lock:
            for group, queue in self._queues.items():
                if queue:
                    limit = most if group != OWN else min(most, OWN_MOST)
                    size = min(limit, max(PIECE_LEAST, math.ceil(len(queue) / share)))
                    return tuple(sorted(queue.popleft() for _ in range(min(size, len(queue)))))
        return ()

    def give_back(self, ks: Sequence[int]) -> None:
        """Return search images that a worker could not finish."""
        with self._lock:
            for k in sorted(ks, reverse=True):
                group = int(self.bank.group_of[k])
                self._queues[group if group in self.shared_groups else OWN].appendleft(k)
            self.done = min(self.done, self.total - sum(len(queue) for queue in self._queues.values()))

    def count_done(self, count: int) -> None:
        """Count search images towards the progress."""
        with self._lock:
            self.done += count

    @property
    def remaining(self) -> bool:
        """Whether search images wait."""
        return any(self._queues.values())

    def finish(self, ks: Sequence[int]) -> None:
        """Note that search images of one mask, or of masks with few, are in the maps.

        The last one of a mask that many share completes that mask's scores.
        """
        group = int(self.bank.group_of[ks[0]])
        with self._lock:
            complete = False
            if group in self.shared_groups:
                self._left[group] -= len(ks)
                complete = self._left[group] == 0
        if complete:
            self._scale(group)

    def raw(self, group: int, tile: int, sigma: NDArray[np.float32], real: np.dtype[Any]) -> Maps:
        """Return the maps of the largest unscaled correlation with the templates of a shared mask, and of its k.

        1 / sigma is a common factor that is not negative: it scales the maximum alone, once the mask's last template is
        done. Hold `guard` to touch the maps.
        """
        with self._guards[tile]:
            if (group, tile) not in self._raw:
                shape = self.tiles[tile].shape
                maps = [(np.full(shape, -np.inf, real), np.full(shape, -1, np.int32)) for _ in range(self.pairs)]
                self._raw[group, tile] = _Raw(tuple(array for pair in maps for array in pair), sigma)
            return self._raw[group, tile].maps

    def _scale(self, group: int) -> None:
        """Take over the unscaled maxima of a shared mask, scaled; where sigma vanishes, score 0 and the smallest k."""
        for tile in range(len(self.tiles)):
            raw = self._raw.pop((group, tile), None)
            if raw is None:
                continue
            rect = self.rect(self._first[group], tile)
            sigma = raw.sigma[rect]
            for pair in range(0, len(raw.maps), 2):
                highest, index = (array[rect] for array in raw.maps[pair : pair + 2])
                score = np.multiply(highest, sigma, dtype=highest.dtype).astype(np.float32, copy=False)
                if not sigma.all():
                    index[sigma == 0] = self._first[group]
                with self._guards[tile]:
                    best, holder = self.maps(tile)[pair : pair + 2]
                    raise_maps(best[rect], holder[rect], score, index)

    def rect(self, k: int, tile: int) -> tuple[slice, slice]:
        """Return the part of a tile's positions at which the support of k's mask lies inside the image."""
        place = self.tiles[tile]

        def clip(scored: slice, span: slice) -> slice:
            start = max(scored.start, span.start) - span.start
            return slice(start, max(start, min(scored.stop, span.stop) - span.start))

        rows, columns = self._scored[self.bank.group_of[k]]
        return clip(rows, place.rows), clip(columns, place.columns)

    def maps(self, tile: int) -> Maps:
        """Return a tile's part of the score and index maps (of the decoys' too); hold `guard` to touch them."""
        place = self.tiles[tile]
        return tuple(array[place.rows, place.columns] for pair in self._maps for array in pair)

    def guard(self, tile: int) -> threading.Lock:
        """Return the lock of a tile's part of the maps."""
        return self._guards[tile]

    def result(self) -> tuple[ScoreMap, ...]:
        """Return the maps and, where asked for, those of the inverted contrast; complete once all is done."""
        found = []
        for highest, index in self._maps:
            score = np.clip(highest, -1, 1)
            score[index < 0] = -1
            found.append(ScoreMap(score, index, self._prepared.grid, self.bank.index))
        return tuple(found)
