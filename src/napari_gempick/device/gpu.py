"""NVIDIA GPUs through CuPy: batched cuFFT transforms and two fused kernels, one host thread per device."""

from __future__ import annotations

import functools
import weakref
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import cupy
import cupyx
import numpy as np
from cupyx.scipy.ndimage import affine_transform

from napari_gempick.device.arrays import Arrays
from napari_gempick.device.fft import PRECISIONS
from napari_gempick.model.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from napari_gempick.device.base import Blocks, Rect

    Array = Any
    Method = TypeVar("Method", bound=Callable[..., Any])

MOST = 32
"""Search images per transform where memory allows; the same on every device, so that cuFFT takes the same plan."""
BLOCK = (64, 4)
SHARE_OF_BATCH, SHARE_OF_RESIDENTS = 0.25, 0.4
"""Parts of the free memory for the arrays of one batch, and for the templates and masks that stay on the device."""


_ERRORS = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
_MEMORY_ERRORS = (cupy.cuda.memory.OutOfMemoryError, cupy.cuda.cufft.CuFFTError)


def _lacks_memory(error: Exception) -> bool:
    return isinstance(error, cupy.cuda.memory.OutOfMemoryError) or "ALLOC_FAILED" in str(error)


def _on_device(method: Method) -> Method:
    """Run a worker's method on its device and stream; CUDA's errors become DeviceError."""

    @functools.wraps(method)
    def wrapped(self: GpuWorker, *args: Any, **kwargs: Any) -> Any:
        try:
            with cupy.cuda.Device(self.number), self.stream:
                return method(self, *args, **kwargs)
        except (*_ERRORS, *_MEMORY_ERRORS) as error:
            what = " is out of memory" if _lacks_memory(error) else ""
            raise DeviceError(f"cuda:{self.number}{what}: {error}") from error

    return wrapped  # type: ignore[return-value]


class GpuWorker:
    """See base.TileWorker; arrays are CuPy's.

    All work of a worker is in order on one stream. Tiles go up through two page-locked buffers in turn: the host fills
    one while the device copies the other and computes.
    """

    def __init__(self, device: GpuDevice, fft_shape: tuple[int, int]) -> None:
        self.number, self._device, self._shape = device.number, device, fft_shape
        with cupy.cuda.Device(self.number):
            self.stream = cupy.cuda.Stream(non_blocking=True)
            code = files("napari_gempick.device").joinpath("kernels.cu").read_text(encoding="utf-8")
            self._module = cupy.RawModule(code=code)
        self._buffers: dict[tuple[np.dtype[Any], int], tuple[Array, Any]] = {}
        self._turn = 0
        device.make_room(fft_shape)

    def _upload(self, block: Array, real: np.dtype[Any]) -> Array:
        """Return a host array on the device, without waiting for the copy."""
        self._turn = 1 - self._turn
        key = real, self._turn
        if key not in self._buffers:
            self._buffers[key] = cupyx.empty_pinned(self._shape, real), cupy.cuda.Event(disable_timing=True)
        buffer, copied = self._buffers[key]
        copied.synchronize()
        part = buffer.ravel()[: block.size].reshape(block.shape)
        part[...] = block
        out = cupy.empty(block.shape, real)
        out.set(part, stream=self.stream)
        copied.record(self.stream)
        return out

    def _within_memory(self, do: Callable[[], Any]) -> Any:
        """Return what `do` returns; while memory lacks, after the device gave up more of what it holds."""
        while True:
            try:
                return do()
            except _MEMORY_ERRORS as error:
                if not _lacks_memory(error) or not self._device.halve():
                    raise
            cupy.get_default_memory_pool().free_all_blocks()

    def _in_chunks(self, count: int, do: Callable[[slice], None]) -> None:
        """Call `do` for parts of so many items; without memory for a part, for halves of it from then on."""

        def one(first: int) -> int:
            last = min(first + self._device.chunk, count)
            do(slice(first, last))
            return last

        done = 0
        while done < count:
            done = self._within_memory(functools.partial(one, done))

    def _kernel(self, name: str, shape: tuple[int, int], arguments: tuple[Any, ...]) -> None:
        """Launch a kernel with one thread for each element of a (y, x) shape."""
        grid = (-(-shape[1] // BLOCK[0]), -(-shape[0] // BLOCK[1]))
        self._module.get_function(name)(grid, BLOCK, arguments)

    def _correlate(self, tile: Array, templates: Array) -> Array:
        """Return the unnormalised correlations (n, fy, fx) of conjugated spectra with a tile's."""
        return cupy.fft.irfft2(tile[None] * templates, s=self._shape, norm="forward")

    def _spectra(self, stack: Array, precision: str) -> Array:
        """Return conjugated half-spectra (n, fy, fx // 2 + 1) of (n, y, x) on the device."""
        real, half = PRECISIONS[precision]
        out = cupy.empty((len(stack), self._shape[0], self._shape[1] // 2 + 1), half)

        def transform(part: slice) -> None:
            cupy.conj(cupy.fft.rfft2(stack[part].astype(real, copy=False), s=self._shape), out=out[part])

        self._in_chunks(len(stack), transform)
        return out

    @_on_device
    def spectrum(self, block: Array, precision: str) -> Array:
        """See base.TileWorker."""
        return cupy.fft.rfft2(self._upload(block, PRECISIONS[precision][0]), s=self._shape)

    @_on_device
    def template_spectra(self, bank: Blocks, ks: Sequence[int], precision: str) -> Array:
        """See base.TileWorker; (n, fy, fx // 2 + 1). Templates are rotated on the device and stay there."""
        on = self._device.arrays

        def make() -> Array:
            return cupy.stack([bank.make_template(k, on) for k in ks])

        return self._within_memory(
            lambda: self._spectra(self._device.resident(bank, ("templates", *ks), make), precision)
        )

    @_on_device
    def mask_spectra(self, bank: Blocks, groups: Sequence[int], precision: str) -> Array:
        """See base.TileWorker; (n, fy, fx // 2 + 1)."""

        def make() -> Array:
            return cupy.asarray(np.stack([bank.mean_weights(group) for group in groups]))

        return self._within_memory(
            lambda: self._spectra(self._device.resident(bank, ("masks", *groups), make), precision)
        )

    @_on_device
    def reciprocal_sigma(
        self, tile: Array, squares: Array, masks: Array, valid: tuple[int, int], floor: float, precision: str
    ) -> list[Array]:
        """See base.TileWorker."""
        out = cupy.empty((len(masks), *valid), cupy.float32)
        real = PRECISIONS[precision][0].type

        def compute(part: slice) -> None:
            mean, square = self._correlate(tile, masks[part]), self._correlate(squares, masks[part])
            sizes = tuple(np.int32(n) for n in (len(mean), *self._shape, *valid))
            arguments = (mean, square, real(floor * floor), *sizes, out[part])
            self._kernel(f"reciprocal_deviation_{precision}", valid, arguments)

        self._in_chunks(len(masks), compute)
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
        inverted = tuple(maps[2:]) or (np.uintp(0), np.uintp(0))  # null pointers
        addresses = [sigma.data.ptr for sigma in sigmas] * (len(ks) // len(sigmas))
        pointers, numbers = cupy.asarray(addresses, cupy.uint64), cupy.asarray(ks, cupy.int32)
        limits = cupy.asarray([(r.start, r.stop, c.start, c.stop) for r, c in rects], cupy.int32)

        def compute(part: slice) -> None:
            product = self._correlate(tile, templates[part])
            sizes = tuple(np.int32(n) for n in (len(product), *self._shape, sigmas[0].shape[1], *maps[0].shape))
            arguments = (product, pointers[part], numbers[part], limits[part], *sizes, *maps[:2], *inverted)
            self._kernel(f"score_maximum_{precision}", maps[0].shape, arguments)

        self._in_chunks(len(ks), compute)

    @_on_device
    def new_maps(self, shape: tuple[int, int], pairs: int) -> tuple[Array, ...]:
        """See base.TileWorker."""
        return tuple(cupy.full(shape, *what) for _ in range(pairs) for what in ((-2, cupy.float32), (-1, cupy.int32)))

    @_on_device
    def to_host(self, array: Array) -> Array:
        """See base.TileWorker."""
        out = cupyx.empty_pinned(array.shape, array.dtype)
        array.get(stream=self.stream, out=out)
        self.stream.synchronize()
        return out


class GpuDevice:
    """One logical device on a GPU. See base.Device."""

    threads = 1
    keeps_maps = True

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.arrays = Arrays(cupy, cupy.fft, affine_transform)
        self.chunk = MOST
        """Search images per transform now; smaller where memory is or became scarce."""
        self._limit: int | None = None
        self._residents: weakref.WeakKeyDictionary[Blocks, dict[tuple[Any, ...], Array]] = weakref.WeakKeyDictionary()

    def make_room(self, fft_shape: tuple[int, int]) -> None:
        """Choose from the free memory how many templates of a tile shape are transformed at a time, and how many stay.

        One of them needs its product, its correlation and the room in which cuFFT works: about five real tiles of
        double precision, at most.
        """
        with cupy.cuda.Device(self.number):
            free = cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()
        each = 5 * 8 * fft_shape[0] * fft_shape[1]
        while self.chunk > 1 and self.chunk * each > SHARE_OF_BATCH * free:
            self.chunk //= 2
        if self._limit is None:
            self._limit = int(SHARE_OF_RESIDENTS * free)

    def resident(self, bank: Blocks, key: tuple[Any, ...], make: Callable[[], Array]) -> Array:
        """Return what was made of a bank before, or make it, and keep it while the memory for that lasts."""
        kept = self._residents.setdefault(bank, {})
        if key not in kept:
            made = make()
            held = sum(array.nbytes for arrays in self._residents.values() for array in arrays.values())
            if held + made.nbytes > (self._limit or 0):
                return made
            kept[key] = made
        return kept[key]

    def halve(self) -> bool:
        """After lack of memory: give up what is kept and halve the chunk; False when nothing is left to give up."""
        if self.chunk == 1 and not self._residents:
            return False
        self._residents.clear()
        self._limit = 0
        self.chunk = max(1, self.chunk // 2)
        return True

    def worker(self, fft_shape: tuple[int, int]) -> GpuWorker:
        """See base.Device."""
        try:
            return GpuWorker(self, fft_shape)
        except (RuntimeError, ImportError, OSError, cupy.cuda.compiler.CompileException) as error:
            raise DeviceError(f"{self.name}: {error}") from error

    def describe(self) -> dict[str, Any]:
        """See base.Device."""
        properties = cupy.cuda.runtime.getDeviceProperties(self.number)
        found = {"name": self.name, "model": properties["name"].decode(), "cupy": cupy.__version__, "batch": self.chunk}
        if self.chunk < MOST:
            found["notice"] = f"Memory is short: {self.chunk} templates are transformed at a time instead of {MOST}."
        return found
