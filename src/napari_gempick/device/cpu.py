"""The CPU: NumPy ufuncs in place on tiles that stay in cache, FFTW transforms, one worker per thread."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.base import HOST
from napari_gempick.device.fft import TileFFT, cpu_tile, rows_of_block
from napari_gempick.device.plan import cpu_model
from napari_gempick.device.thread_rules import one_thread
from napari_gempick.device.tiling import CPU_TILING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from napari_gempick.device.base import Blocks, Images, Rect, Result
    from napari_gempick.device.plan import PlanStore

    Maps = Sequence[NDArray[Any]]

UNSCORED = -2.0
"""Below every score."""


def update_max(best: NDArray[np.float32], holder: NDArray[np.int32], score: Any, index: Any) -> None:
    """Raise `best` and `holder` to the larger score, in a tie the smaller k; all (y, x). Overwrites `index`."""
    better = score > best
    equal = score == best
    if equal.any():
        better |= equal & (index < holder)
    np.maximum(best, score, out=best)
    index -= holder  # by arithmetic: a masked copy with a dense mask is several times slower
    index *= better
    holder += index


def _row_blocks(rect: Rect, step: int) -> Iterator[tuple[Rect, Rect]]:
    """Cut a rectangle at rows that are multiples of `step`: each part, and its own indices."""
    rows, columns = rect
    if columns.start >= columns.stop:
        return
    for first in range(rows.start - rows.start % step, rows.stop, step):
        part = slice(max(first, rows.start), min(first + step, rows.stop))
        yield (part, columns), (slice(part.stop - part.start), columns)


class CpuWorker:
    """See base.TileWorker; arrays are NumPy's."""

    def __init__(self, fft_shape: tuple[int, int], plans: PlanStore) -> None:
        self._shape, self._plans = fft_shape, plans
        self._ffts: dict[str, TileFFT] = {}
        block = min(rows_of_block(fft_shape), fft_shape[0]), fft_shape[1]
        self._best: dict[tuple[np.dtype[Any], int], NDArray[Any]] = {}
        self._holders: dict[int, NDArray[np.uint8]] = {}  # 1 + place in the unit of the best so far, 0 for none
        self._index = np.empty(block, np.int32)
        self._raised = np.empty(block, bool)
        self._place = np.empty(block, np.uint8)
        self._score = np.empty(block, np.float32)

    arrays = HOST

    def do(self, make: Callable[[], Result]) -> Result:
        """See base.TileWorker."""
        return make()

    def _fft(self, precision: str) -> TileFFT:
        if precision not in self._ffts:
            self._ffts[precision] = cpu_tile(self._shape, precision, self._plans)
        return self._ffts[precision]

    def spectrum(self, block: NDArray[Any], precision: str) -> Any:
        """See base.TileWorker."""
        return self._fft(precision).spectrum(block)

    def template_spectra(self, bank: Blocks, ks: Sequence[int], precision: str) -> list[Any]:
        """See base.TileWorker."""
        return self.image_spectra(bank, ks, precision)

    def image_spectra(self, images: Images, numbers: Sequence[int], precision: str) -> list[Any]:
        """See base.BasisWorker."""
        fft = self._fft(precision)
        return [fft.spectrum(images.template(number), conjugate=True) for number in numbers]

    def mask_spectra(self, bank: Blocks, groups: Sequence[int], precision: str) -> list[Any]:
        """See base.TileWorker."""
        fft = self._fft(precision)
        return [fft.spectrum(bank.mean_weights(group), conjugate=True) for group in groups]

    def reciprocal_sigma(
        self,
        tile: Any,
        squares: Any,
        masks: Any,
        rects: Sequence[Rect],
        valid: tuple[int, int],
        floor: float,
        precision: str,
    ) -> list[NDArray[np.float32]]:
        """See base.TileWorker."""
        fft = self._fft(precision)
        smallest = fft.real.type(floor * floor)
        found = []
        for mask in masks:
            fft.correlate(tile, mask, slot=0)
            fft.correlate(squares, mask, slot=1)
            out = np.empty(valid, np.float32)
            for (rows, columns), block in _row_blocks((slice(0, valid[0]), slice(0, valid[1])), fft.step):
                mean, variance = (fft.rows(rows.start, rows.stop, slot)[:, columns] for slot in (0, 1))
                np.multiply(mean, mean, out=mean)
                np.subtract(variance, mean, out=variance)
                flat = np.less_equal(variance, smallest, out=self._raised[block])
                np.copyto(variance, np.inf, where=flat)
                np.sqrt(variance, out=variance)
                np.divide(1, variance, out=out[rows], casting="same_kind")
            found.append(out)
        return found

    def correlations(self, tile: Any, templates: Sequence[Any], rect: Rect, out: NDArray[Any], precision: str) -> None:
        """See base.BasisWorker."""
        fft = self._fft(precision)
        for template, found in zip(templates, out, strict=True):
            fft.correlate(tile, template)
            for (rows, columns), _ in _row_blocks(rect, fft.step):
                place = slice(rows.start - rect[0].start, rows.stop - rect[0].start)
                found[place] = fft.rows(rows.start, rows.stop)[:, columns]

    def score(
        self,
        tile: Any,
        templates: Any,
        ks: Sequence[int],
        sigmas: Sequence[NDArray[np.float32]],
        rects: Sequence[Rect],
        maps: Maps,
        guard: AbstractContextManager[Any],
        precision: str,
    ) -> None:
        """See base.TileWorker.

        1 / sigma of a shared mask is a common factor that is not negative: only the largest correlation is scaled.
        Where it vanishes the score is 0, held by the smallest k.
        """
        fft = self._fft(precision)
        shape, own = maps[0].shape, len(sigmas) == len(ks)
        ways: list[tuple[Any, Any, Any, Any]] = []  # highest scores; with a second pair of maps the lowest too
        rules = (np.greater, np.maximum, -np.inf), (np.less, np.minimum, np.inf)
        for pair, (better, keep, worst) in enumerate(rules):
            if 2 * pair < len(maps):
                best, holder = self._scratch(pair, np.dtype(np.float32) if own else fft.real, shape)
                best.fill(worst)
                holder.fill(0)
                ways.append((better, keep, best, holder))
        for i, (template, rect) in enumerate(zip(templates, rects, strict=True)):
            fft.correlate(tile, template)
            for part, block in _row_blocks(rect, fft.step):
                score = fft.rows(part[0].start, part[0].stop)[:, part[1]]
                if own:
                    score = np.multiply(score, sigmas[i][part], out=self._score[block], casting="same_kind")
                raised, places = self._raised[block], self._place[block]
                for better, keep, best, holder in ways:
                    better(score, best[part], out=raised)
                    keep(score, best[part], out=best[part])
                    np.multiply(raised.view(np.uint8), np.uint8(i + 1), out=places)
                    np.maximum(holder[part], places, out=holder[part])
        numbers = np.array([-1, *ks], np.int32)
        if len(ways) > 1:
            np.negative(ways[1][2], out=ways[1][2])
        with guard:
            for pair, (_, _, best, holder) in enumerate(ways):
                whole = (slice(0, shape[0]), slice(0, shape[1])) if own else rects[0]
                for part, block in _row_blocks(whole, fft.step):
                    index = np.take(numbers, holder[part], out=self._index[block], mode="clip")
                    score = best[part]
                    if not own:
                        sigma = sigmas[0][part]
                        score = np.multiply(score, sigma, out=self._score[block], casting="same_kind")
                        if not sigma.all():
                            index[sigma == 0] = ks[0]
                    update_max(maps[2 * pair][part], maps[2 * pair + 1][part], score, index)

    def _scratch(
        self, pair: int, dtype: np.dtype[Any], shape: tuple[int, int]
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Return room for a pair of maps of a tile's positions: scores of a type, and who holds them."""
        if (dtype, pair) not in self._best:
            self._best[dtype, pair] = np.empty(self._shape, dtype)
        if pair not in self._holders:
            self._holders[pair] = np.empty(self._shape, np.uint8)
        part = slice(shape[0]), slice(shape[1])
        return self._best[dtype, pair][part], self._holders[pair][part]

    def new_maps(self, shape: tuple[int, int], pairs: int) -> tuple[NDArray[Any], ...]:
        """See base.TileWorker."""
        made = ((np.full(shape, UNSCORED, np.float32), np.full(shape, -1, np.int32)) for _ in range(pairs))
        return tuple(array for pair in made for array in pair)

    def to_host(self, array: Any) -> Any:
        """See base.TileWorker."""
        return array


TIMED = 4
"""Rotated templates that are timed together."""
RATED = (384, 384)
"""Tile on which a rotated template is timed once for a plan."""


def _stored(rate: float) -> int:
    """Return a rate as a plan can hold it."""
    return min(1_000_000, max(1, round(rate)))


def _fastest(work: Callable[[], Any]) -> float:
    """Return the seconds of the fastest of 15 calls."""
    found = []
    for _ in range(15):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return max(1e-9, min(found))


class CpuDevice:
    """Some cores of this machine. See base.Device."""

    keeps_maps = False
    tiling = CPU_TILING

    def __init__(self, threads: int, plans: PlanStore, name: str = "cpu") -> None:
        self.name, self.threads, self.cores, self._plans = name, threads, threads, plans
        self._rates: tuple[int, int, int] | None = None

    def worker(self, fft_shape: tuple[int, int]) -> CpuWorker:
        """See base.Device."""
        return CpuWorker(fft_shape, self._plans)

    def rates(self) -> tuple[int, int, int]:
        """Return what a rotated template costs on a tile of RATED, only its transform, and the rate of matrix products.

        The costs are in 0.1 µs, the rate in millions of operations a second. Measured once and stored in the plan, so
        that what follows from them is the same for all that use it.
        """
        if self._rates is None:
            worker, (height, width) = CpuWorker(RATED, self._plans), RATED
            block = np.random.default_rng(0).standard_normal(RATED).astype(np.float32)
            tile = worker.spectrum(block, "single")
            templates = [tile] * TIMED
            rect = slice(0, height * 7 // 8), slice(0, width * 7 // 8)
            shape = rect[0].stop, rect[1].stop
            out, maps, sigma = (
                np.empty((TIMED, *shape), np.float32),
                worker.new_maps(shape, 2),
                np.ones(shape, np.float32),
            )
            one, other, product = (np.ones(sides, np.float32) for sides in ((48, 20), (20, 2048), (48, 2048)))

            def score() -> None:
                worker.score(tile, templates, range(TIMED), [sigma], [rect] * TIMED, maps, nullcontext(), "single")

            def transform() -> None:
                worker.correlations(tile, templates, rect, out, "single")

            def multiply() -> None:
                np.matmul(one, other, out=product)

            def rate(work: Callable[[], None]) -> int:
                with one_thread():
                    return round(1e9 * _fastest(work))

            score()  # plans are made before the plan file is locked
            search = self._plans.tile_shape("search image, 0.1 us", lambda: (_stored(rate(score) / TIMED / 100), TIMED))
            rest = self._plans.tile_shape(
                "transform, 0.1 us, and product",
                lambda: (
                    _stored(rate(transform) / TIMED / 100),
                    _stored(1e3 * 2 * one.size * other.shape[1] / rate(multiply)),
                ),
            )
            self._rates = search[0], *rest
        return self._rates

    def describe(self) -> dict[str, Any]:
        """See base.Device."""
        return {"name": self.name, "model": cpu_model(), "threads": self.threads}
