"""What the workers of one device share while they search a micrograph: spectra, and local statistics of masks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from napari_gempick.engine.tiles import FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from napari_gempick.device.base import BasisWorker, Images, TileWorker
    from napari_gempick.engine.matching.search import Search
    from napari_gempick.engine.tiles import Precision

SHARED_STATISTICS_BYTES = 2**29
UNITS_KEPT = 2
"""Units whose spectra are kept: the one in turn, and one before it that a slower worker may still need."""


class TileCache:
    """What the workers of one device share: spectra, and local statistics of masks that many templates use."""

    def __init__(self, search: Search, threads: int = 1, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._search, self._threads = search, threads
        self._should_stop = should_stop
        self._lock = threading.Lock()
        self._locks = [threading.Lock() for _ in search.tiles]
        self._precisions: dict[int, Precision] = {}
        self._spectra: dict[tuple[int, str, bool], Any] = {}
        self._sigmas: dict[tuple[int, int], Any] = {}
        map_bytes = 4 * search.valid[0] * search.valid[1] * len(search.tiles)
        self._kept = max(2, SHARED_STATISTICS_BYTES // map_bytes)
        self._groups: list[int] = []
        self._others: dict[tuple[Hashable, str], _Spectra] = {}
        self._units: dict[int, dict[tuple[str, str], _Spectra]] = {}
        self._last = threading.local()
        self._images: tuple[Any, Any] | None = None

    def _block(self, worker: TileWorker, tile: int) -> Any:
        """Return a tile's centred input on the device; the last one is kept for each thread."""
        if self._images is None:
            self._images = self._search.images(worker.arrays)
        if getattr(self._last, "tile", None) != tile:
            self._last.block, self._last.tile = self._search.block(tile, self._images, worker.arrays), tile
        return self._last.block

    def precision(self, worker: TileWorker, tile: int) -> Precision:
        """Return the tile's precisions."""
        with self._locks[tile]:
            if tile not in self._precisions:
                self._precisions[tile] = worker.do(lambda: self._search.precision(tile, self._block(worker, tile)))
            return self._precisions[tile]

    def spectrum(self, worker: TileWorker, tile: int, precision: str, *, squares: bool = False) -> Any:
        """Return the half-spectrum of a tile's grey levels, or of their squares, over the number of its elements."""
        with self._locks[tile]:
            return self._spectrum(worker, tile, precision, squares)

    def _spectrum(self, worker: TileWorker, tile: int, precision: str, squares: bool) -> Any:
        def make() -> Any:
            block = self._block(worker, tile)
            assert self._images is not None
            if squares:
                block = self._search.squares(tile, block, self._images, worker.arrays)
            return worker.spectrum(block / block.size, precision)  # the inverse transform is not normalised

        key = (tile, precision, squares)
        if key not in self._spectra:
            self._spectra[key] = worker.do(make)
        return self._spectra[key]

    def sigma(self, worker: TileWorker, group: int, tile: int, precision: str, mask_spectrum: Callable[[], Any]) -> Any:
        """Return 1 / local standard deviation under a shared mask, computed once."""
        with self._locks[tile]:
            if (group, tile) not in self._sigmas:
                plain, squared = (self._spectrum(worker, tile, precision, squares) for squares in (False, True))
                rects = [self._search.rect(group, tile)]
                found = worker.reciprocal_sigma(
                    plain, squared, mask_spectrum(), rects, self._search.valid, FLOOR, precision
                )
                self._sigmas[group, tile] = found[0]
            return self._sigmas[group, tile]

    def plain_squares(self, worker: TileWorker, tile: int, precision: str) -> Any:
        """Return the half-spectrum of the squares of a tile's grey levels as they are, over the number of elements."""
        with self._locks[tile]:
            if not self._search.corrected:
                return self._spectrum(worker, tile, precision, True)
            block = self._block(worker, tile)
            return worker.do(lambda: worker.spectrum(block * block / block.size, precision))

    def image(self, worker: TileWorker, tile: int) -> Any:
        """Return a tile's centred input on the device, (fy, fx) float64."""
        return worker.do(lambda: self._block(worker, tile))

    def kept_spectra(self, worker: BasisWorker, what: Hashable, blocks: Images, numbers: range, precision: str) -> Any:
        """Return the conjugated half-spectra of some images, kept under a name until the search ends."""
        with self._lock:
            key = what, precision
            if key not in self._others:
                self._others[key] = _Spectra(len(numbers), min(len(numbers), self._threads))
            spectra = self._others[key]
        return spectra.get(
            lambda part: worker.image_spectra(blocks, _Walk(numbers[part], self._should_stop), precision)
        )

    def keep(self, groups: Sequence[int]) -> None:
        """Give up the statistics of masks that are no longer in turn, beyond what memory allows."""
        with self._lock:
            self._groups = [g for g in self._groups if g not in groups] + sorted(groups)
            for group in self._groups[: -self._kept]:
                for key in [key for key in list(self._sigmas) if key[0] == group]:
                    self._sigmas.pop(key, None)
            self._groups = self._groups[-self._kept :]

    def templates(self, worker: TileWorker, unit: int, precision: str) -> Any:
        """Return the conjugated half-spectra of a unit's templates."""
        bank, ks = self._search.bank, self._search.units[unit].ks
        return self._of_unit(
            unit, "templates", precision, ks, lambda some: worker.template_spectra(bank, some, precision)
        )

    def masks(self, worker: TileWorker, unit: int, precision: str) -> Any:
        """Return the conjugated half-spectra of a unit's masks, over the sums of their weights."""
        bank, groups = self._search.bank, self._search.units[unit].groups
        return self._of_unit(unit, "masks", precision, groups, lambda some: worker.mask_spectra(bank, some, precision))

    def _of_unit(
        self, unit: int, what: str, precision: str, numbers: Sequence[int], make: Callable[[Sequence[int]], Any]
    ) -> Any:
        with self._lock:
            if unit not in self._units:
                self._units[unit] = {}
                for old in list(self._units)[:-UNITS_KEPT]:
                    del self._units[old]
            if (what, precision) not in self._units[unit]:
                self._units[unit][what, precision] = _Spectra(len(numbers), min(len(numbers), self._threads))
            spectra = self._units[unit][what, precision]
        return spectra.get(lambda part: make(_Walk(numbers[part], self._should_stop)))


class Stopped(Exception):
    """The search was stopped while a template was made."""


class _Walk(list[int]):
    """Numbers that raise Stopped while one walks through them, once the search is stopped."""

    def __init__(self, numbers: Iterable[int], should_stop: Callable[[], bool]) -> None:
        super().__init__(numbers)
        self._should_stop = should_stop

    def __iter__(self) -> Iterator[int]:
        for number in super().__iter__():
            if self._should_stop():
                raise Stopped
            yield number


class _Spectra:
    """Spectra that several workers need, made in parts by those that come first."""

    def __init__(self, count: int, parts: int) -> None:
        self._parts = [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
        self._locks = [threading.Lock() for _ in self._parts]
        self._made: list[Any] = [None] * parts

    def get(self, make: Callable[[slice], Any]) -> Any:
        """Make what nobody else makes, wait for the others' parts, and return all."""
        for wait in (False, True):
            for number, part in enumerate(self._parts):
                if self._made[number] is None and self._locks[number].acquire(blocking=wait):
                    try:
                        if self._made[number] is None:
                            self._made[number] = make(part)
                    finally:
                        self._locks[number].release()
        return self._made[0] if len(self._made) == 1 else [one for part in self._made for one in part]
