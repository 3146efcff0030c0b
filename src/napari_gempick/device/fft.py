"""Real FFTs of tiles on the CPU: FFTW, or scipy.fft where pyfftw is absent; one owner thread each.

A correlation is the inverse transform of a product of half-spectra (fy, fx // 2 + 1). It runs in two stages: all
columns at once, then the rows in blocks, so that what is done with a block finds it in the cache, and rows that no
position needs are never transformed. Blocks are no smaller than that: between two calls of NumPy or FFTW a thread waits
for Python's lock, which all threads share. Inverse transforms are not normalised: the engine folds
1 / (fy fx) into the tile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.fft

from napari_gempick.device.plan import pyfftw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.device.plan import PlanStore

    Array = NDArray[Any]

PRECISIONS: dict[str, tuple[np.dtype[Any], np.dtype[Any]]] = {
    "single": (np.dtype(np.float32), np.dtype(np.complex64)),
    "double": (np.dtype(np.float64), np.dtype(np.complex128)),
}
ROWS = 64
"""Rows that are transformed in one go."""
BLOCK = 2**18
"""Most pixels of a block: 1 MiB in single precision."""


def rows_of_block(shape: tuple[int, int]) -> int:
    """Return how many rows of a tile are a block: a multiple of ROWS."""
    return max(1, BLOCK // shape[1] // ROWS) * ROWS


class TileFFT(Protocol):
    """Transforms of one tile shape and precision."""

    shape: tuple[int, int]
    real: np.dtype[Any]
    step: int
    """Rows of a block (see rows_of_block)."""

    def spectrum(self, block: Array, *, conjugate: bool = False) -> Array:
        """Return the half-spectrum of a (y, x) block padded with zeros to the tile, as a new array."""

    def correlate(self, tile: Array, template: Array, slot: int = 0) -> None:
        """Begin the correlation of a tile with a template (a conjugated spectrum); `slot` 0 or 1 holds it."""

    def rows(self, start: int, stop: int, slot: int = 0) -> Array:
        """Return rows `start` up to `stop` of the correlation, (stop - start, fx), of one block.

        Each block once, in one call; the next call with the same slot overwrites it.
        """


class FftwTile:
    """FFTW through pyfftw, one thread, plans from the store's wisdom."""

    def __init__(self, shape: tuple[int, int], precision: str, plans: PlanStore) -> None:
        self.shape, self.step = shape, rows_of_block(shape)
        self.real, self._complex = PRECISIONS[precision]
        self._plans = plans
        self._slots: dict[int, tuple[Array, Any, list[Any], Array]] = {}
        self._padded: dict[int, tuple[Array, Any]] = {}
        half, *_ = self._slot(0)
        self._columns = self._plan(half, half, (0,), "FFTW_FORWARD")

    def _plan(self, source: Array, target: Array, axes: tuple[int, ...], direction: str, *extra: str) -> Any:
        return self._plans.fftw(
            lambda flags: pyfftw.FFTW(source, target, axes=axes, direction=direction, flags=(*flags, *extra))
        )

    def _slot(self, slot: int) -> tuple[Array, Any, list[Any], Array]:
        """Return a slot's half-spectrum, the plans of its columns and of each ROWS rows, and room for a block."""
        if slot not in self._slots:
            height, width = self.shape
            half = pyfftw.empty_aligned((height, width // 2 + 1), dtype=self._complex)
            columns = self._plan(half, half, (0,), "FFTW_BACKWARD")
            out = pyfftw.empty_aligned((min(self.step, height), width), dtype=self.real)
            rows = []
            for first in range(0, height, ROWS):
                part, place = half[first : first + ROWS], first % self.step
                target = out[place : place + len(part)]
                rows.append(self._plan(part, target, (1,), "FFTW_BACKWARD", "FFTW_DESTROY_INPUT"))
            self._slots[slot] = half, columns, rows, out
        return self._slots[slot]

    def spectrum(self, block: Array, *, conjugate: bool = False) -> Array:
        """See TileFFT; rows of zeros below the block are not transformed."""
        half = self._slots[0][0]
        height, width = block.shape
        if height not in self._padded:
            padded = pyfftw.empty_aligned((height, self.shape[1]), dtype=self.real)
            self._padded[height] = padded, self._plan(padded, half[:height], (1,), "FFTW_FORWARD")
        padded, rows = self._padded[height]
        padded[:, :width] = block
        padded[:, width:] = 0
        rows.execute()
        half[height:] = 0
        self._columns.execute()
        out: Array = pyfftw.empty_aligned(half.shape, dtype=half.dtype)
        return np.conjugate(half, out=out) if conjugate else np.positive(half, out=out)

    def correlate(self, tile: Array, template: Array, slot: int = 0) -> None:
        """See TileFFT."""
        half, columns, *_ = self._slot(slot)
        np.multiply(tile, template, out=half)
        columns.execute()

    def rows(self, start: int, stop: int, slot: int = 0) -> Array:
        """See TileFFT."""
        _, _, rows, out = self._slots[slot]
        for plan in rows[start // ROWS : -(-stop // ROWS)]:
            plan.execute()
        first = start - start % self.step
        return out[start - first : stop - first]


class ScipyTile:
    """scipy.fft: slower, always there."""

    def __init__(self, shape: tuple[int, int], precision: str) -> None:
        self.shape, self.step = shape, rows_of_block(shape)
        self.real, _ = PRECISIONS[precision]
        self._slots: dict[int, Array] = {}

    def spectrum(self, block: Array, *, conjugate: bool = False) -> Array:
        """See TileFFT."""
        half: Array = scipy.fft.rfft2(block.astype(self.real, copy=False), s=self.shape)
        return np.conjugate(half, out=half) if conjugate else half

    def correlate(self, tile: Array, template: Array, slot: int = 0) -> None:
        """See TileFFT."""
        product = np.multiply(tile, template)
        self._slots[slot] = scipy.fft.ifft(product, axis=0, norm="forward", overwrite_x=True)

    def rows(self, start: int, stop: int, slot: int = 0) -> Array:
        """See TileFFT."""
        out: Array = scipy.fft.irfft(self._slots[slot][start:stop], n=self.shape[1], axis=1, norm="forward")
        return out


def cpu_tile(shape: tuple[int, int], precision: str, plans: PlanStore) -> TileFFT:
    """Return the fastest transform that is installed."""
    return ScipyTile(shape, precision) if pyfftw is None else FftwTile(shape, precision, plans)


def full_size_inverse(size: int, plans: PlanStore) -> float:
    """Return the median seconds of one plain (size, size) float32 inverse transform, FFTW_MEASURE, one thread."""
    length = scipy.fft.next_fast_len(size, real=True)
    half = np.ones((length, length // 2 + 1), np.complex64)
    if pyfftw is None:

        def run() -> Any:
            return scipy.fft.irfft2(half, s=(length, length))

    else:
        source = pyfftw.empty_aligned(half.shape, dtype=half.dtype)
        target = pyfftw.empty_aligned((length, length), dtype=np.float32)
        plan = plans.fftw(
            lambda flags: pyfftw.FFTW(
                source, target, axes=(0, 1), direction="FFTW_BACKWARD", flags=(*flags, "FFTW_DESTROY_INPUT")
            )
        )
        source[:] = half
        run = plan.execute
    times = []
    for _ in range(7):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
