"""Real FFTs of tiles: FFTW, scipy.fft where pyfftw is absent, cuFFT; one interface, one owner thread each.

Spectra are half-spectra of shape (..., fy, fx // 2 + 1). Inverse transforms are not normalised by FFTW and are by the
others, so the interface fixes it: `correlate` returns fy * fx times the correlation for every library; the engine folds
the factor into what it multiplies with anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.fft

from napari_gempick.device.plan import pyfftw

if TYPE_CHECKING:
    from napari_gempick.device.plan import PlanStore

    Array = Any

PRECISIONS: dict[str, tuple[np.dtype[Any], np.dtype[Any]]] = {
    "single": (np.dtype(np.float32), np.dtype(np.complex64)),
    "double": (np.dtype(np.float64), np.dtype(np.complex128)),
}


class TileFFT(Protocol):
    """Transforms of one tile shape and precision."""

    shape: tuple[int, int]

    def spectrum(self, block: Array, *, conjugate: bool = False) -> Array:
        """Return the half-spectrum of a (y, x) block padded with zeros to the tile, as a new array."""

    def correlate(self, tile: Array, template: Array, slot: int = 0) -> Array:
        """Return the unnormalised inverse transform of `tile * template` in the scratch array number `slot`.

        `template` is a conjugated spectrum. The (fy, fx) result is overwritten by the next call with the same slot.
        """


class FftwTile:
    """FFTW through pyfftw, one thread, plans from the store's wisdom."""

    def __init__(self, shape: tuple[int, int], precision: str, plans: PlanStore, slots: int = 2) -> None:
        self.shape = shape
        real, complex_ = PRECISIONS[precision]
        height, width = shape
        self._half = pyfftw.empty_aligned((height, width // 2 + 1), dtype=complex_)
        self._real = [pyfftw.empty_aligned(shape, dtype=real) for _ in range(slots)]

        def plan(source: Array, target: Array, direction: str, *extra: str) -> Any:
            return plans.fftw(
                lambda flags: pyfftw.FFTW(source, target, axes=(0, 1), direction=direction, flags=(*flags, *extra))
            )

        self._forward = plan(self._real[0], self._half, "FFTW_FORWARD")
        self._inverse = [plan(self._half, out, "FFTW_BACKWARD", "FFTW_DESTROY_INPUT") for out in self._real]

    def spectrum(self, block: Array, *, conjugate: bool = False) -> Array:
        """See TileFFT."""
        scratch = self._real[0]
        scratch[:] = 0
        scratch[: block.shape[0], : block.shape[1]] = block
        self._forward.execute()
        out = pyfftw.empty_aligned(self._half.shape, dtype=self._half.dtype)
        return np.conjugate(self._half, out=out) if conjugate else np.positive(self._half, out=out)

    def correlate(self, tile: Array, template: Array, slot: int = 0) -> Array:
        """See TileFFT."""
        np.multiply(tile, template, out=self._half)
        self._inverse[slot].execute()
        return self._real[slot]


class ScipyTile:
    """scipy.fft: slower, always there."""

    def __init__(self, shape: tuple[int, int], precision: str) -> None:
        self.shape = shape
        self._types = PRECISIONS[precision]

    def spectrum(self, block: Array, *, conjugate: bool = False) -> Array:
        """See TileFFT."""
        half = scipy.fft.rfft2(block.astype(self._types[0], copy=False), s=self.shape)
        return np.conjugate(half, out=half) if conjugate else half

    def correlate(self, tile: Array, template: Array, slot: int = 0) -> Array:
        """See TileFFT."""
        product = np.multiply(tile, template)
        return scipy.fft.irfft2(product, s=self.shape, norm="forward", overwrite_x=True)


def cpu_tile(shape: tuple[int, int], precision: str, plans: PlanStore) -> TileFFT:
    """Return the fastest transform that is installed."""
    return ScipyTile(shape, precision) if pyfftw is None else FftwTile(shape, precision, plans)
