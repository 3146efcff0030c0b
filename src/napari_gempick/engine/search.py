"""One micrograph against one bank: tiles, the queue of search images, and the maps that all workers raise."""

from __future__ import annotations

import functools
import itertools
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
Share = tuple[int, int, int]
"""(start, stop, of): the part of the bank from start / of to stop / of."""


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
    share : (start, stop, of), optional
        Search this part of the bank alone; the maxima over all parts are the whole bank's maps, byte for byte.

    Attributes
    ----------
    scored : (n_bank,) int32
        How often each search image was scored: a proof of coverage.

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
        share: Share | None = None,
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
        units = self._cut(chosen)
        if share is not None:
            units = _part(units, share)
        self._queues = {batch: deque(ks) for batch, ks in enumerate(ks for batched, ks in units if batched)}
        self._first = {batch: queue[0] for batch, queue in self._queues.items()}
        self._left = {batch: len(queue) for batch, queue in self._queues.items()}
        self._batch_of = {k: batch for batch, queue in self._queues.items() for k in queue}
        self._queues[OWN] = deque(k for batched, ks in units if not batched for k in ks)
        self.total, self.done = sum(len(ks) for _, ks in units), 0
        self.scored = np.zeros(len(bank.index), np.int32)

    def _cut(self, chosen: Sequence[list[int]]) -> list[tuple[bool, list[int]]]:
        """Cut the bank into batches of one shared mask, and single search images: (whether it is a batch, its ks).

        The scores of a batch are scaled together, which decides ties between scores that differ by less than the last
        bit. The cut follows from the bank alone, so that no result depends on how the work is shared.
        """
        units: list[tuple[bool, list[int]]] = []
        for group, ks in enumerate(chosen):
            if group not in self.shared_groups:
                units += [(False, [k]) for k in ks]
                continue
            count = max(1, int(len(ks) // max(SHARED_FROM, 2 * math.sqrt(len(ks)))))
            ends = [len(ks) * i // count for i in range(count + 1)]
            units += [(True, ks[a:b]) for a, b in itertools.pairwise(ends) if b > a]
        return units

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
            for batch, queue in self._queues.items():
                if queue:
                    limit = most if batch != OWN else min(most, OWN_MOST)
                    size = min(limit, max(PIECE_LEAST, math.ceil(len(queue) / share)))
                    return tuple(sorted(queue.popleft() for _ in range(min(size, len(queue)))))
        return ()

    def give_back(self, ks: Sequence[int]) -> None:
        """Return search images that a worker could not finish."""
        with self._lock:
            for k in sorted(ks, reverse=True):
                self._queues[self._batch_of.get(k, OWN)].appendleft(k)
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
        """Note that search images are in the maps; the last one of a batch completes that batch's scores."""
        complete = []
        with self._lock:
            self.scored[list(ks)] += 1
            for k in ks:
                batch = self._batch_of.get(k, OWN)
                if batch != OWN:
                    self._left[batch] -= 1
                    if self._left[batch] == 0:
                        complete.append(batch)
        for batch in complete:
            self._scale(batch)

    def raw(self, k: int, tile: int, sigma: NDArray[np.float32], real: np.dtype[Any]) -> Maps:
        """Return the maps of the largest unscaled correlation with the templates of k's batch, and of its k.

        1 / sigma is a common factor that is not negative: it scales the maximum alone, once the batch's last template
        is done. Hold `guard` to touch the maps.
        """
        key = self._batch_of[k], tile
        with self._guards[tile]:
            if key not in self._raw:
                shape = self.tiles[tile].shape
                maps = [(np.full(shape, -np.inf, real), np.full(shape, -1, np.int32)) for _ in range(self.pairs)]
                self._raw[key] = _Raw(tuple(array for pair in maps for array in pair), sigma)
            return self._raw[key].maps

    def _scale(self, batch: int) -> None:
        """Take over the unscaled maxima of a batch, scaled; where sigma vanishes, score 0 and the smallest k."""
        for tile in range(len(self.tiles)):
            raw = self._raw.pop((batch, tile), None)
            if raw is None:
                continue
            rect = self.rect(self._first[batch], tile)
            sigma = raw.sigma[rect]
            for pair in range(0, len(raw.maps), 2):
                highest, index = (array[rect] for array in raw.maps[pair : pair + 2])
                score = np.multiply(highest, sigma, dtype=highest.dtype).astype(np.float32, copy=False)
                if not sigma.all():
                    index[sigma == 0] = self._first[batch]
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

    def raised(self) -> list[tuple[NDArray[np.float32], NDArray[np.int32]]]:
        """Return the scores so far and who holds them, -2 and -1 where nothing is: what is combined over shares.

        Pairs of (my, mx); the second is of the inverted contrast. The larger score wins, in a tie the smaller k.
        """
        return self._maps

    def result(self) -> tuple[ScoreMap, ...]:
        """Return the maps and, where asked for, those of the inverted contrast; complete once all is done."""
        found = []
        for highest, index in self._maps:
            score = np.clip(highest, -1, 1)
            score[index < 0] = -1
            score += 0  # a zero has no sign
            found.append(ScoreMap(score, index, self._prepared.grid, self.bank.index))
        return tuple(found)


def _part(units: list[tuple[bool, list[int]]], share: Share) -> list[tuple[bool, list[int]]]:
    """Return the units whose middle, counted in search images, lies in a share; shares that adjoin share no unit."""
    start, stop, parts = share
    total = sum(len(ks) for _, ks in units)
    kept, before = [], 0
    for batched, ks in units:
        if 2 * total * start <= (2 * before + len(ks)) * parts < 2 * total * stop:
            kept.append((batched, ks))
        before += len(ks)
    return kept
