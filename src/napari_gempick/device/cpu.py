"""The CPU: NumPy ufuncs in place on tiles that stay in cache, FFTW transforms, one worker per thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.fft import PRECISIONS, TileFFT, cpu_tile
from napari_gempick.device.plan import cpu_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.device.base import Rect
    from napari_gempick.device.plan import PlanStore

BATCH = 8
ROWS = 64


def _assign(
    index: NDArray[np.int32], value: int | NDArray[np.int32], where: NDArray[np.bool_], scratch: NDArray[np.int32]
) -> None:
    """Set `index` to `value` where told, by arithmetic: ten times faster than a masked copy with a dense mask."""
    np.subtract(value, index, out=scratch)
    np.multiply(scratch, where, out=scratch)
    np.add(index, scratch, out=index)


class CpuWorker:
    """See base.TileWorker; arrays are NumPy's."""

    def __init__(self, fft_shape: tuple[int, int], plans: PlanStore) -> None:
        self._shape, self._plans = fft_shape, plans
        self._ffts: dict[str, TileFFT] = {}
        self._raised = np.empty(fft_shape, bool)
        self._score = np.empty((ROWS, fft_shape[1]), np.float32)
        self._change = np.empty((ROWS, fft_shape[1]), np.int32)

    def _fft(self, precision: str) -> TileFFT:
        if precision not in self._ffts:
            self._ffts[precision] = cpu_tile(self._shape, precision, self._plans)
        return self._ffts[precision]

    def spectrum(self, block: NDArray[Any], precision: str) -> Any:
        """See base.TileWorker."""
        return self._fft(precision).spectrum(block)

    def template_spectra(self, blocks: Sequence[NDArray[Any]], precision: str) -> list[Any]:
        """See base.TileWorker."""
        fft = self._fft(precision)
        return [fft.spectrum(block, conjugate=True) for block in blocks]

    def reciprocal_sigma(
        self, tile: Any, squares: Any, masks: Any, valid: tuple[int, int], floor: float, precision: str
    ) -> list[NDArray[np.float32]]:
        """See base.TileWorker."""
        fft = self._fft(precision)
        region = (slice(valid[0]), slice(valid[1]))
        smallest = PRECISIONS[precision][0].type(floor * floor)
        found = []
        for mask in masks:
            mean = fft.correlate(tile, mask, slot=0)[region]
            variance = fft.correlate(squares, mask, slot=1)[region]
            np.multiply(mean, mean, out=mean)
            np.subtract(variance, mean, out=variance)
            flat = np.less_equal(variance, smallest, out=self._raised[region])
            np.copyto(variance, np.inf, where=flat)
            np.sqrt(variance, out=variance)
            out = np.empty(valid, np.float32)
            found.append(np.divide(1, variance, out=out, casting="same_kind"))
        return found

    def score(
        self,
        tile: Any,
        templates: Any,
        ks: Sequence[int],
        sigmas: Sequence[NDArray[np.float32]],
        rects: Sequence[Rect],
        best: NDArray[np.float32],
        index: NDArray[np.int32],
        precision: str,
    ) -> None:
        """See base.TileWorker."""
        fft = self._fft(precision)
        for template, k, sigma, rect in zip(templates, ks, sigmas, rects, strict=True):
            product = fft.correlate(tile, template)
            rows, columns = rect
            for first in range(rows.start, rows.stop, ROWS):  # few enough rows for all passes to stay in cache
                part = slice(first, min(first + ROWS, rows.stop)), columns
                block = slice(part[0].stop - first), columns
                score = product[part] if product.dtype == np.float32 else self._score[block]
                np.multiply(product[part], sigma[part], out=score, casting="same_kind")
                raised = np.greater(score, best[part], out=self._raised[block])
                np.maximum(score, best[part], out=best[part])
                _assign(index[part], k, raised, self._change[block])

    def new_maps(self, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """See base.TileWorker."""
        return np.full(shape, -2, np.float32), np.full(shape, -1, np.int32)

    def to_host(self, array: Any) -> Any:
        """See base.TileWorker."""
        return array


class CpuDevice:
    """Some cores of this machine. See base.Device."""

    batch = BATCH
    keeps_maps = False

    def __init__(self, threads: int, plans: PlanStore, name: str = "cpu") -> None:
        self.name, self.threads, self._plans = name, threads, plans

    def worker(self, fft_shape: tuple[int, int]) -> CpuWorker:
        """See base.Device."""
        return CpuWorker(fft_shape, self._plans)

    def describe(self) -> dict[str, Any]:
        """See base.Device."""
        return {"name": self.name, "model": cpu_model(), "threads": self.threads}
