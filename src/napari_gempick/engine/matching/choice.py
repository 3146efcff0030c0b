"""Which search a micrograph gets: in full, or by a basis of the bank where that costs less.

The times come from a model. Its three rates of this computer are measured once and stored in the plan, so the choice,
and with it the last bits of scores, is the same for every process that uses the plan.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_gempick.device.cpu import RATED, CpuDevice
from napari_gempick.device.thread_rules import one_thread, products_repeat
from napari_gempick.device.tiling import CPU_TILING, cpu_cost
from napari_gempick.engine.matching.compressed import CompressedSearch, tiling_of
from napari_gempick.engine.matching.compression import BLOCK, RESIDUAL, by_rotations, compress, harmonics_of
from napari_gempick.engine.matching.search import SHARED_FROM, Search
from napari_gempick.engine.tiles import choose_fft_shape
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_gempick.engine.matching.compression import Compression, Harmonics
    from napari_gempick.engine.matching.search import ShapeChooser, Share
    from napari_gempick.engine.matching.workers import DevicePool
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.engine.templates.bank import Bank

LOG = logging.getLogger(__name__)
LEAST_IMAGES = 240
"""Fewer rotated templates under one mask are not worth a basis."""
MOST_BYTES = 2**28
"""Largest size of the rotated templates under one mask; larger sets are searched in full."""
REDUCTION = 0.2
"""ns for each position and rotated template: extremes of the scores of an angle."""
EXACT = 1.5
"""Share of the positions that are scored exactly for each sign, times the square of the finest detail in map pixels.

That is for noise; smooth micrographs have fewer local maxima."""
BLOCKS = 2.5
"""Blocks of rotated templates that are scored at each of them."""
GATHER = 36
"""Rotated templates that could be multiplied with a patch while it is brought from memory."""
PRODUCTS = 1.5
"""Times the operations of the products, which are not as fast as large ones."""
OPTIMISTIC = 16, 16
"""Rank and channels that a bank has at least: where even these do not pay, nothing is tried."""
OVERHEAD = 2e6
"""ns for each tile and section, whatever their size."""
LOOK = 0.03
"""Share of the full search's time that it may take to find out the rank of a bank."""
GAIN = 0.8
"""The model must promise at most this share of the full search's time."""


@dataclass(frozen=True)
class Wanted:
    """What the user wants of the search.

    Attributes
    ----------
    kind : {'auto', 'full', 'compressed'}
    floor : float
        The least score of a candidate: from there on local maxima are exact.
    maps : bool
        Whether the maps are kept or shown: `auto` then searches in full, and a basis names a likely rotated template
        where the exact one is not known, otherwise any.
    """

    kind: str = "full"
    floor: float = -1.0
    maps: bool = True


FULL = Wanted()


def make_search(
    wanted: Wanted,
    prepared: Prepared,
    bank: Bank,
    pool: DevicePool,
    tile_shape: ShapeChooser | None = None,
    *,
    view: int | None = None,
    decoys: bool = False,
    share: Share | None = None,
    check: Callable[[], None] = lambda: None,
) -> Search:
    """Return the search that `wanted` asks for; parameters as Search.

    Raises
    ------
    SettingsError
        A compressed search is asked for on a GPU.
    InputError
        As Search.
    """
    full = Search(prepared, bank, tile_shape, pool.tiling, view=view, decoys=decoys, share=share)
    if wanted.kind == "full" or (wanted.kind == "auto" and wanted.maps):
        return full
    device = pool.devices[0]
    if pool.tiling is not CPU_TILING or not isinstance(device, CpuDevice):
        if wanted.kind == "compressed":
            raise SettingsError("The compressed search runs on the CPU; give --devices cpu, or --search auto.")
        return full
    if wanted.kind == "auto" and not products_repeat():
        return full
    try:
        with one_thread():
            parts = _parts(wanted, full, pool, device, decoys=decoys, check=check)
    except MemoryError:
        if wanted.kind == "compressed" or share is not None:  # the shares of other ranks are of tiles
            raise
        return full
    if not parts:
        return full
    LOG.info("search by bases of ranks %s", [part.rank for part in parts])
    return CompressedSearch(
        prepared, bank, parts, wanted.floor, tile_shape, view=view, decoys=decoys, share=share, likely=wanted.maps
    )


def _parts(
    wanted: Wanted, full: Search, pool: DevicePool, device: CpuDevice, *, decoys: bool, check: Callable[[], None]
) -> list[Compression]:
    """Return the compressions that pay; what is found about a bank is kept with it."""
    bank = full.bank
    threads = max(1, sum(pool.devices[i].threads for i in pool.alive()))
    model = None if wanted.kind == "compressed" else _Model(full, *device.rates(), decoys=decoys)
    chosen: list[Compression] = []
    saved, left = 0.0, 0
    for group, ks in enumerate(full.by_mask):
        left += len(ks)
        if len(ks) < (SHARED_FROM if model is None else LEAST_IMAGES) or group not in full.shared_groups:
            continue
        if 4 * len(ks) * math.prod(bank.extent.box) > MOST_BYTES:
            continue
        some = by_rotations(bank, ks)
        if model is not None and not model.promising(some):
            continue
        key = group, hash(tuple(ks))
        harmonics: list[Harmonics] = []
        if key not in bank.compressions:
            harmonics = [harmonics_of(bank, group, rows, threads, check) for rows in some]
            bank.compressions[key] = _Found([one.size(one.counts(RESIDUAL)) for one in harmonics])
        found: _Found = bank.compressions[key]
        if model is not None:
            gain = model.saves([(rows, *size) for rows, size in zip(some, found.sizes, strict=True)])
            if gain <= 0:
                continue
            saved += gain
        if found.parts is None:
            harmonics = harmonics or [harmonics_of(bank, group, rows, threads, check) for rows in some]
            found.parts = [compress(bank, one, one.counts(RESIDUAL), check) for one in harmonics]
        chosen += found.parts
        left -= len(ks)
    return [] if model is not None and chosen and saved <= model.remade(left, chosen) else chosen


@dataclass
class _Found:
    """What is known about the rotated templates under a mask: ranks and channels, and their compressions once made.

    Whether these pay depends on the micrograph, and on nothing that was searched before.
    """

    sizes: list[tuple[int, int]]
    parts: list[Compression] | None = None


class _Model:
    """What the search of some images takes in full and by a basis, ns.

    Parameters
    ----------
    full : Search
    search_image, transform, product : int
        See device.cpu.CpuDevice.rates.
    """

    def __init__(self, full: Search, search_image: int, transform: int, product: int, *, decoys: bool) -> None:
        self._full, self._signs = full, 2 if decoys else 1
        rated = cpu_cost(*RATED) / 100
        self._scale, self._transform, self._product = search_image / rated, transform / rated, product / 1e3
        self._box = full.bank.extent.box

    def _whole(self, images: int) -> float:
        one = cpu_cost(*self._full.fft_shape) * self._scale * (0.8 + 0.2 * self._signs) / 1.2
        return len(self._full.tiles) * images * one

    def promising(self, parts: list[NDArray[np.int32]]) -> bool:
        """Return whether a basis may pay for parts (sections, rotations), and looking for one costs next to nothing."""
        images, pixels = sum(rows.size for rows in parts), math.prod(self._box)
        looking = sum(8 * rows.size * pixels * len(rows) for rows in parts) / self._product
        return looking < LOOK * self._whole(images) and self.saves([(rows, *OPTIMISTIC) for rows in parts]) > 0

    def remade(self, images: int, parts: list[Compression]) -> float:
        """Return what it takes to transform the other rotated templates again for each tile of a search by parts."""
        tile, tiles = self._tiles(max(part.rank for part in parts))
        return images * (tiles - 1) * cpu_cost(*tile) * self._transform

    def _tiles(self, rank: int) -> tuple[tuple[int, int], int]:
        """Return the shape and the number of the tiles of a search by a basis."""
        overlap = 2 * CompressedSearch.halo
        wide = self._box[0] + overlap, self._box[1] + overlap
        tile = choose_fft_shape(self._full.positions, wide, tiling_of(rank))
        sides = zip(self._full.positions, tile, wide, strict=True)
        return tile, math.prod(math.ceil(n / (f - b + 1)) for n, f, b in sides)

    def saves(self, parts: list[tuple[NDArray[np.int32], int, int]]) -> float:
        """Return what a basis saves for parts: images (sections, rotations), rank and channels; negative: no."""
        full = self._full
        positions, pixels, ours = math.prod(full.positions), math.prod(self._box), 0.0
        for rows, rank, channels in parts:
            tile, tiles = self._tiles(rank)
            ours += (tiles + 1) * rank * cpu_cost(*tile) * self._transform + tiles * len(rows) * OVERHEAD
            operations = rows.size * channels + 4 * len(rows) * rank  # angles from harmonics, these from the basis
            share = min(1.0, EXACT / full.bank.detail**2)
            exact = self._signs * share * BLOCKS * pixels * (BLOCK + GATHER)
            products = (PRODUCTS * operations + 2 * exact) / self._product
            ours += positions * (products + self._signs * REDUCTION * rows.size)
            ours += 2 * rows.size * pixels * (len(rows) + 3 * rank) / self._product  # to make it
        return GAIN * self._whole(sum(rows.size for rows, _, _ in parts)) - ours
