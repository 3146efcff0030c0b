"""NVIDIA GPUs through CuPy: batched cuFFT transforms and two fused kernels, one host thread per device."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import cupy
import numpy as np

from napari_gempick.device.fft import PRECISIONS
from napari_gempick.model.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from napari_gempick.device.base import Rect

    Array = Any
    Method = TypeVar("Method", bound=Callable[..., Any])

MOST = 32
"""Search images per transform; the same on every device, so that cuFFT takes the same plan."""
BLOCK = (64, 4)


def _on_device(method: Method) -> Method:
    """Run a worker's method on its device and stream; CUDA's errors become DeviceError."""

    @functools.wraps(method)
    def wrapped(self: GpuWorker, *args: Any, **kwargs: Any) -> Any:
        try:
            with cupy.cuda.Device(self.number), self.stream:
                return method(self, *args, **kwargs)
        except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError) as error:
            raise DeviceError(f"cuda:{self.number}: {error}") from error
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise DeviceError(f"cuda:{self.number} is out of memory: {error}") from error

    return wrapped  # type: ignore[return-value]


class GpuWorker:
    """See base.TileWorker; arrays are CuPy's."""

    def __init__(self, device: GpuDevice, fft_shape: tuple[int, int]) -> None:
        self.number, self._device, self._shape = device.number, device, fft_shape
        with cupy.cuda.Device(self.number):
            self.stream = cupy.cuda.Stream(non_blocking=True)
            code = files("napari_gempick.device").joinpath("kernels.cu").read_text(encoding="utf-8")
            self._module = cupy.RawModule(code=code)

    def _kernel(self, name: str, shape: tuple[int, int], arguments: tuple[Any, ...]) -> None:
        """Launch a kernel with one thread for each element of a (y, x) shape."""
        grid = (-(-shape[1] // BLOCK[0]), -(-shape[0] // BLOCK[1]))
        self._module.get_function(name)(grid, BLOCK, arguments)

    def _correlate(self, tile: Array, templates: Array) -> Array:
        """Return the unnormalised correlations (n, fy, fx) of conjugated spectra with a tile's."""
        return cupy.fft.irfft2(tile[None] * templates, s=self._shape, norm="forward")

    @_on_device
    def spectrum(self, block: Array, precision: str) -> Array:
        """See base.TileWorker."""
        return cupy.fft.rfft2(cupy.asarray(block, PRECISIONS[precision][0]), s=self._shape)

    @_on_device
    def template_spectra(self, blocks: Sequence[Array], precision: str) -> Array:
        """See base.TileWorker; (n, fy, fx // 2 + 1)."""
        stack = cupy.asarray(np.stack(blocks).astype(PRECISIONS[precision][0]))
        return cupy.conj(cupy.fft.rfft2(stack, s=self._shape))

    @_on_device
    def reciprocal_sigma(
        self, tile: Array, squares: Array, masks: Array, valid: tuple[int, int], floor: float, precision: str
    ) -> list[Array]:
        """See base.TileWorker."""
        count = len(masks)
        out = cupy.empty((count, *valid), cupy.float32)
        mean, square = self._correlate(tile, masks), self._correlate(squares, masks)
        real = PRECISIONS[precision][0].type
        sizes = tuple(np.int32(n) for n in (count, *self._shape, *valid))
        self._kernel(f"reciprocal_deviation_{precision}", valid, (mean, square, real(floor * floor), *sizes, out))
        return list(out)

    @_on_device
    def score(
        self,
        tile: Array,
        templates: Array,
        ks: Sequence[int],
        sigmas: Sequence[Array],
        rects: Sequence[Rect],
        maps: Sequence[Array],
        guard: AbstractContextManager[Any],
        precision: str,
    ) -> None:
        """See base.TileWorker; without memory for all templates at once, half as many are transformed at a time."""
        sigmas = list(sigmas) * (len(ks) // len(sigmas))
        best, index = maps[:2]
        inverted = tuple(maps[2:]) or (np.uintp(0), np.uintp(0))  # null pointers
        first = 0
        while first < len(ks):
            last = min(first + self._device.chunk, len(ks))
            try:
                product = self._correlate(tile, templates[first:last])
            except cupy.cuda.memory.OutOfMemoryError:
                if not self._device.halve():
                    raise
                cupy.get_default_memory_pool().free_all_blocks()
                continue
            pointers = cupy.asarray([sigma.data.ptr for sigma in sigmas[first:last]], cupy.uint64)
            numbers = cupy.asarray(ks[first:last], cupy.int32)
            edges = [(r.start, r.stop, c.start, c.stop) for r, c in rects[first:last]]
            limits = cupy.asarray(edges, cupy.int32)
            sizes = (last - first, *self._shape, sigmas[first].shape[1], *best.shape)
            arguments = (product, pointers, numbers, limits, *(np.int32(n) for n in sizes), best, index, *inverted)
            self._kernel(f"score_maximum_{precision}", best.shape, arguments)
            first = last

    @_on_device
    def new_maps(self, shape: tuple[int, int], pairs: int) -> tuple[Array, ...]:
        """See base.TileWorker."""
        return tuple(cupy.full(shape, *what) for _ in range(pairs) for what in ((-2, cupy.float32), (-1, cupy.int32)))

    @_on_device
    def to_host(self, array: Array) -> Array:
        """See base.TileWorker."""
        return cupy.asnumpy(array)


class GpuDevice:
    """One logical device on a GPU. See base.Device."""

    threads = 1
    keeps_maps = True

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.chunk = MOST
        """Search images per transform now; smaller after the memory ran out."""

    def halve(self) -> bool:
        """Halve the chunk; False when it is 1 already."""
        if self.chunk == 1:
            return False
        self.chunk //= 2
        return True

    def worker(self, fft_shape: tuple[int, int]) -> GpuWorker:
        """See base.Device."""
        try:
            return GpuWorker(self, fft_shape)
        except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.compiler.CompileException) as error:
            raise DeviceError(f"{self.name}: {error}") from error

    def describe(self) -> dict[str, Any]:
        """See base.Device."""
        properties = cupy.cuda.runtime.getDeviceProperties(self.number)
        return {
            "name": self.name,
            "model": properties["name"].decode(),
            "cupy": cupy.__version__,
            "batch": MOST,
            "batch_after_lack_of_memory": self.chunk if self.chunk < MOST else None,
        }
