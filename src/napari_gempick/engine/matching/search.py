"""One micrograph against one bank: tiles, the queue of rotated templates, and the maps that all workers raise."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.cpu import update_max
from napari_gempick.device.tiling import CPU_TILING
from napari_gempick.engine.tiles import PrecisionRule, choose_fft_shape, layout
from napari_gempick.model.errors import InputError
from napari_gempick.model.score_maps import ScoreMap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.device.base import Arrays
    from napari_gempick.device.tiling import Tiling
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.engine.tiles import Precision

    Maps = tuple[NDArray[Any], ...]
    ShapeChooser = Callable[[str, Callable[[], tuple[int, int]]], tuple[int, int]]

UNSCORED = np.float32(-2)
SHARED_FROM = 12
"""Masks that this many rotated templates share have their local statistics kept, the others computed for each unit."""
Share = tuple[int, int, int]
"""(start, stop, of): the part of the bank from start / of to stop / of."""


@dataclass(frozen=True)
class Unit:
    """Rotated templates that meet a tile together.

    Attributes
    ----------
    ks : tuple of int
        Full-bank numbers, ascending.
    groups : tuple of int
        Their masks.
    shared : bool
        They are of one mask, whose local statistics are kept. Their scores are scaled together.

    What is scored together may decide a tie between scores that differ by less than the last bit; so units follow from
    the bank alone, and a share of it holds whole ones.
    """

    ks: tuple[int, ...]
    groups: tuple[int, ...]
    shared: bool


@dataclass(frozen=True)
class Item:
    """The least piece of work: a unit on one tile."""

    unit: int
    tile: int


class Search:
    """One micrograph against one bank; holds what the workers share.

    Parameters
    ----------
    prepared : Prepared
        The micrograph on the searched grid.
    bank : Bank
        Rotated templates on the same grid.
    tile_shape : callable, optional
        `tile_shape(key, choose)` returns the stored transform lengths of this problem (see device.plan.PlanStore).
    tiling : Tiling
        Of the devices that will search; see engine.matching.workers.DevicePool.tiling.
    view : int, optional
        Search this view alone.
    decoys : bool
        Keep the maps of the inverted contrast as well: the largest negated score at each position.
    share : (start, stop, of), optional
        Search this part of the bank alone; the maxima over all parts are the whole bank's maps, byte for byte.

    Attributes
    ----------
    scored : (n_bank,) int32
        How often each rotated template was scored: a proof of coverage.

    Raises
    ------
    InputError
        No position of the micrograph holds the whole support of any mask.
    """

    halo = 0
    """Positions around the part of the maps that a tile writes, on which that part depends."""
    bound: float = 0.0
    """By how much a score that is not a candidate's, nor beside one, may be wrong."""

    def __init__(
        self,
        prepared: Prepared,
        bank: Bank,
        tile_shape: ShapeChooser | None = None,
        tiling: Tiling = CPU_TILING,
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
        self.positions = positions = (rows.stop - rows.start, columns.stop - columns.start)
        box = bank.extent.box
        if min(positions) < 1:
            spacing, shape = prepared.grid.map_pixel_size, prepared.grid.shape
            raise InputError(
                f"The masked template ({box[1] * spacing:.0f} x {box[0] * spacing:.0f} Å) is larger than the "
                f"micrograph ({shape[1] * spacing:.0f} x {shape[0] * spacing:.0f} Å); "
                "check both pixel sizes or give a smaller mask."
            )
        overlap = 2 * self.halo
        key = f"{positions[0]}x{positions[1]}+{box[0] + overlap}x{box[1] + overlap}"
        key += "" if tiling is CPU_TILING else f" {tiling.name}"
        choose = functools.partial(choose_fft_shape, positions, (box[0] + overlap, box[1] + overlap), tiling)
        self.fft_shape = choose() if tile_shape is None else tile_shape(key, choose)
        self.valid = (self.fft_shape[0] - box[0] + 1, self.fft_shape[1] - box[1] + 1)
        self.own = layout(rows, columns, bank.extent, (self.fft_shape[0] - overlap, self.fft_shape[1] - overlap))
        self.tiles = [tile.wider(self.halo, rows, columns) for tile in self.own] if self.halo else self.own
        inside = slice(prepared.margin, -prepared.margin or None)
        self._rule = PrecisionRule(prepared.image[inside, inside], bank.core, max(group.area for group in bank.groups))
        self.shared_groups = frozenset(g for g, group in enumerate(bank.groups) if len(group.ks) >= SHARED_FROM)
        self.pairs = 2 if decoys else 1
        shape = prepared.grid.shape
        self._maps = [(np.full(shape, UNSCORED, np.float32), np.full(shape, -1, np.int32)) for _ in range(self.pairs)]
        self._raised: set[int] = set()
        self._guards = [threading.Lock() for _ in self.tiles]
        self._lock = threading.Lock()
        views = bank.index.view(np.arange(len(bank.index), dtype=np.int32))
        wanted = bank.index.searched() & (True if view is None else views == view)
        self.tiling = tiling
        self.by_mask = [[int(k) for k in group.ks if wanted[k]] for group in bank.groups]
        self.units = self._cut(self.by_mask, share)
        self._waiting = {unit: deque(range(len(self.tiles))) for unit in range(len(self.units))}
        self._left = [len(self.tiles)] * len(self.units)
        self._unit_of: dict[str, int] = {}
        self.total, self._done = sum(len(unit.ks) for unit in self.units), 0
        self.scored = np.zeros(len(bank.index), np.int32)

    def _cut(self, chosen: Sequence[list[int]], share: Share | None) -> tuple[Unit, ...]:
        """Cut the bank, or a share of it, into units, given the rotated templates of each mask."""
        units: list[Unit] = []
        for group, ks in enumerate(chosen):
            count = len(ks)
            if group in self.shared_groups:
                size = min(self.tiling.shared, max(SHARED_FROM, 2 * math.sqrt(len(ks))))
                count = max(1, round(len(ks) / size), math.ceil(len(ks) / self.tiling.shared))
            ends = [len(ks) * i // max(count, 1) for i in range(count + 1)]
            shared = group in self.shared_groups
            units += [Unit(tuple(ks[a:b]), (group,), shared) for a, b in itertools.pairwise(ends) if b > a]
        own = [unit for unit in units if not unit.shared]  # one rotated template each, alike side by side
        size = min(self.tiling.own, max(2, len(own) // 16))
        joined = [own[first : first + size] for first in range(0, len(own), size)]
        units = [unit for unit in units if unit.shared] + [
            Unit(
                tuple(sorted(k for unit in some for k in unit.ks)),
                tuple(sorted({group for unit in some for group in unit.groups})),
                shared=False,
            )
            for some in joined
        ]
        return tuple(units if share is None else _part(units, share))

    @property
    def corrected(self) -> bool:
        """Whether sums of squares are corrected for what the searched grid cannot hold."""
        return self._prepared.square_correction is not None

    def images(self, on: Arrays) -> tuple[Any, Any]:
        """Return the micrograph, and what is added to its square (or None), where `on` says; see Prepared."""
        correction = self._prepared.square_correction
        return on.xp.asarray(self._prepared.image), None if correction is None else on.xp.asarray(correction)

    def block(self, tile: int, images: tuple[Any, Any], on: Arrays) -> Any:
        """Return the centred input of a tile, (fy, fx) float64."""
        return self.tiles[tile].block(images[0], self.fft_shape, margin=self._prepared.margin, on=on)

    def squares(self, tile: int, block: Any, images: tuple[Any, Any], on: Arrays) -> Any:
        """Return the squares of a tile's centred input, (fy, fx) float64, as their sums under a mask need them."""
        if images[1] is None:
            return block * block
        margin = self._prepared.margin
        return block * block + self.tiles[tile].block(images[1], self.fft_shape, margin=margin, centre=False, on=on)

    def precision(self, tile: int, block: Any) -> Precision:
        """Return the precisions that a tile needs."""
        return self._rule(block, self.tiles[tile])

    def take(self, device: str) -> Item | None:
        """Return the next piece of work for a device, None at the end.

        All workers of a device keep to one unit, whose spectra they share, while it has tiles; then to one that no
        other device has, and at the end they help with any. No result depends on who takes what.
        """
        with self._lock:
            if not self._waiting:
                return None
            unit = self._unit_of.get(device)
            if unit not in self._waiting:
                others = {taken for name, taken in self._unit_of.items() if name != device}
                unit = next((unit for unit in self._waiting if unit not in others), next(iter(self._waiting)))
                self._unit_of[device] = unit
            tile = self._waiting[unit].popleft()
            if not self._waiting[unit]:
                del self._waiting[unit]
            return Item(unit, tile)

    def give_back(self, items: Sequence[Item], counted: int) -> None:
        """Return pieces that a worker could not finish; the first `counted` of them were counted as done."""
        with self._lock:
            for item in items:
                self._waiting.setdefault(item.unit, deque()).append(item.tile)
            self._done -= sum(len(self.units[item.unit].ks) for item in items[:counted])

    def count_done(self, item: Item) -> None:
        """Count a piece towards the progress."""
        with self._lock:
            self._done += len(self.units[item.unit].ks)

    @property
    def done(self) -> int:
        """How many rotated templates are done, as a progress."""
        return self._done // len(self.tiles)

    @property
    def remaining(self) -> bool:
        """Whether work waits."""
        return bool(self._waiting)

    def finish(self, items: Sequence[Item]) -> None:
        """Note that pieces are in the maps."""
        with self._lock:
            for item in items:
                self._left[item.unit] -= 1
                if self._left[item.unit] == 0:
                    self.scored[list(self.units[item.unit].ks)] += 1

    def tally(self) -> NDArray[np.int32]:
        """Return what a share has done, as counts that are added up over all shares."""
        return self.scored

    def complete(self, tally: NDArray[np.int32]) -> None:
        """Take over the sums of `tally` over all shares."""
        self.scored[:] = tally

    def rect(self, group: int, tile: int) -> tuple[slice, slice]:
        """Return the part of a tile's positions at which the support of a mask lies inside the image."""
        place = self.tiles[tile]

        def clip(scored: slice, span: slice) -> slice:
            start = max(scored.start, span.start) - span.start
            return slice(start, max(start, min(scored.stop, span.stop) - span.start))

        rows, columns = self._scored[group]
        return clip(rows, place.rows), clip(columns, place.columns)

    def maps(self, tile: int) -> Maps:
        """Return a tile's part of the score and index maps (of the decoys' too); hold `guard` to touch them."""
        self._raised.add(tile)
        return self._part(tile)

    def _part(self, tile: int) -> Maps:
        place = self.own[tile]
        return tuple(array[place.rows, place.columns] for pair in self._maps for array in pair)

    def merge(self, tile: int, found: Maps) -> None:
        """Raise a tile's part of the maps to what a device found. Overwrites `found`."""
        with self._guards[tile]:
            held = self._part(tile)
            if tile in self._raised:
                for pair in range(0, len(held), 2):
                    update_max(*held[pair : pair + 2], *found[pair : pair + 2])
                return
            self._raised.add(tile)
            for target, array in zip(held, found, strict=True):
                target[...] = array

    def guard(self, tile: int) -> threading.Lock:
        """Return the lock of a tile's part of the maps."""
        return self._guards[tile]

    def partial_maps(self) -> list[tuple[NDArray[np.float32], NDArray[np.int32]]]:
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
            found.append(ScoreMap(score, index, self._prepared.grid, self.bank.index, self.bound))
        return tuple(found)


def _part(units: list[Unit], share: Share) -> list[Unit]:
    """Return the units that begin, counted in rotated templates, in a share; shares that adjoin share no unit."""
    start, stop, parts = share
    total = sum(len(unit.ks) for unit in units)
    kept, before = [], 0
    for unit in units:
        if total * start <= before * parts < total * stop:
            kept.append(unit)
        before += len(unit.ks)
    return kept
