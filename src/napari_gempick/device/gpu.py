"""NVIDIA GPUs through CuPy: transforms fused with what comes before and after them, one host thread per device."""

from __future__ import annotations

import functools
import logging
import weakref
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

import cupy
import cupyx
import numpy as np
from cupyx.scipy.ndimage import affine_transform

from napari_gempick.device.base import Arrays
from napari_gempick.device.fft import PRECISIONS
from napari_gempick.device.tiling import GPU_TILING, RADICES, gpu_layout
from napari_gempick.model.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from napari_gempick.device.base import Blocks, Rect, Result

    Array = Any
    Method = TypeVar("Method", bound=Callable[..., Any])

LOG = logging.getLogger(__name__)
MOST = 64
"""Templates per launch where memory allows."""
SHARE_OF_BATCH, SHARE_OF_RESIDENTS = 0.25, 0.4
"""Parts of the free memory for the arrays of one batch, and for the templates and masks that stay on the device."""

_ERRORS = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError, cupy.cuda.cufft.CuFFTError)
_OUT_OF_MEMORY = "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUFFT_ALLOC_FAILED"


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, cupy.cuda.memory.OutOfMemoryError) or any(name in str(error) for name in _OUT_OF_MEMORY)


def _on_device(method: Method) -> Method:
    """Run a worker's method on its device and stream; CUDA's errors become DeviceError.

    When memory runs out, the device gives up some of what it holds and the method runs again: whatever it had already
    written it writes again, the same.
    """

    @functools.wraps(method)
    def wrapped(self: GpuWorker, *args: Any, **kwargs: Any) -> Any:
        with cupy.cuda.Device(self.number), self.stream:
            while True:
                try:
                    return method(self, *args, **kwargs)
                except (*_ERRORS, cupy.cuda.memory.OutOfMemoryError) as error:
                    if not _is_out_of_memory(error):
                        raise DeviceError(f"cuda:{self.number}: {error}") from error
                    if not self._device.give_up():
                        raise DeviceError(f"cuda:{self.number} is out of memory: {error}") from error
                self.stream.synchronize()
                cupy.get_default_memory_pool().free_all_blocks()

    return wrapped  # type: ignore[return-value]


class Kernels:
    """The kernels of one tile shape and precision, with their launch sizes; compiled when they are first called.

    `room` is the shared memory that a block can have, bytes.
    """

    def __init__(self, shape: tuple[int, int], precision: str, room: int) -> None:
        self._shape = shape
        real, half = PRECISIONS[precision]
        self._layout = gpu_layout(shape, real.itemsize, room)
        self._options = (
            *("--std=c++17", "-default-device", "-DNOT_A_NUMBER=__int_as_float(0x7fffffff)"),
            *(("-DREAL=float",) if precision == "single" else ("-DREAL=double", "-DDOUBLE")),
            *(f"-D{name}={value}" for name, value in self._layout.macros.items()),
        )
        self._modules: dict[str, Any] = {}
        self._functions: dict[str, Any] = {}
        self._roots = [
            cupy.asarray(np.exp(2j * np.pi * np.arange(length) / length).astype(half)) for length in reversed(shape)
        ]

    def _call(self, name: str, grid: tuple[int, ...], block: tuple[int, int], room: int, arguments: Any) -> None:
        if name not in self._functions:
            kernel, _, variant = name.partition(" ")
            if variant not in self._modules:
                code = files("napari_gempick.device").joinpath("kernels.cu").read_text(encoding="utf-8")
                chosen = (f"-DSCORE={variant}",) if variant else ()
                self._modules[variant] = cupy.RawModule(code=code, options=(*self._options, *chosen))
            self._functions[name] = self._modules[variant].get_function(kernel)
            self._functions[name].max_dynamic_shared_size_bytes = room
        self._functions[name](grid, block, arguments, shared_mem=room)

    def rows(self, name: str, height: int, images: int, *arguments: Any) -> None:
        """Launch a kernel on the first `height` rows of each of `images` images."""
        block = self._layout.row_block
        grid = (-(-height // block[1]), images)
        self._call(name, grid, block, self._layout.row_room, (*arguments, self._roots[0]))

    def columns(self, name: str, images: int, *arguments: Any) -> None:
        """Launch a kernel on the columns of `images` images."""
        block = self._layout.column_block
        grid = (images, -(-self._shape[1] // block[0]))
        self._call(name, grid, block, self._layout.column_room, (*arguments, self._roots[1]))


def _int(number: int) -> Any:
    return np.int32(number)


class GpuWorker:
    """See base.TileWorker; arrays are CuPy's.

    All work of a worker is in order on one stream. What goes up goes through two page-locked buffers in turn: the host
    fills one while the device copies the other and computes. Spectra are complex and whole (fy, fx): those of two
    templates share one array, see kernels.cu.
    """

    def __init__(self, device: GpuDevice, fft_shape: tuple[int, int]) -> None:
        self.number, self._device, self._shape = device.number, device, fft_shape
        with cupy.cuda.Device(self.number):
            self.stream = cupy.cuda.Stream(non_blocking=True)
        self.arrays = device.arrays
        self._made: dict[str, Kernels] = {}
        self._buffers: dict[tuple[Any, int], tuple[Array, Any]] = {}
        self._turn = 0
        device.make_room(fft_shape)

    def kernels(self, precision: str) -> Kernels:
        """Return the kernels of a precision for this worker's tiles."""
        if precision not in self._made:
            room = cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
            self._made[precision] = Kernels(self._shape, precision, room)
        return self._made[precision]

    def _upload(self, array: Array, dtype: Any) -> Array:
        """Return a host array on the device, without waiting for the copy."""
        self._turn = 1 - self._turn
        key = np.dtype(dtype), self._turn
        if key not in self._buffers or self._buffers[key][0].size < array.size:
            if key in self._buffers:
                self._buffers[key][1].synchronize()
            self._buffers[key] = cupyx.empty_pinned(array.size, dtype), cupy.cuda.Event(disable_timing=True)
        buffer, copied = self._buffers[key]
        copied.synchronize()
        part = buffer[: array.size].reshape(array.shape)
        part[...] = array
        out = cupy.empty(array.shape, dtype)
        out.set(part, stream=self.stream)
        copied.record(self.stream)
        return out

    def _chunks(self, count: int) -> list[slice]:
        """Divide `count` images among launches, an even number in each but the last: two can share a transform."""
        size = self._device.chunk
        return [slice(first, min(first + size, count)) for first in range(0, count, size)]

    def spectra(self, images: Array, precision: str, together: int, conjugate: bool) -> Array:
        """Return the transforms of (n, h, w) on the device, one or two images in each, (n or (n + 1) / 2, fy, fx)."""
        kernels, (count, height, width) = self.kernels(precision), images.shape
        half = PRECISIONS[precision][1]
        out = cupy.empty((-(-count // together), *self._shape), half)
        name = "forward_rows_float" if images.dtype == np.float32 else "forward_rows_real"
        for part in self._chunks(count):
            some = images[part]
            n = -(-len(some) // together)
            target = out[part.start // together :][:n]
            rows = cupy.empty((n, height, self._shape[1]), half)
            sizes = tuple(_int(size) for size in (together, len(some), height, width))
            kernels.rows(name, height, n, some, rows, *sizes)
            kernels.columns("forward_columns", n, rows, target, _int(height), _int(conjugate))
        return out

    @_on_device
    def do(self, make: Callable[[], Result]) -> Result:
        """See base.TileWorker."""
        return make()

    @_on_device
    def spectrum(self, block: Array, precision: str) -> Array:
        """See base.TileWorker."""
        return self.spectra(block.astype(PRECISIONS[precision][0])[None], precision, 1, conjugate=True)[0]

    @_on_device
    def template_spectra(self, bank: Blocks, ks: Sequence[int], precision: str) -> Array:
        """See base.TileWorker; ((n + 1) / 2, fy, fx). Templates are rotated on the device and stay there."""
        images = self._device.resident(bank, ("templates", *ks), lambda: bank.make_templates(ks, self.arrays))
        return self.spectra(images, precision, together=2, conjugate=False)

    @_on_device
    def mask_spectra(self, bank: Blocks, groups: Sequence[int], precision: str) -> Array:
        """See base.TileWorker; (n, fy, fx)."""
        real, _ = PRECISIONS[precision]

        def make() -> Array:
            return cupy.asarray(np.stack([bank.mean_weights(group) for group in groups]).astype(real))

        images = self._device.resident(bank, ("masks", precision, *groups), make)
        return self.spectra(images, precision, together=1, conjugate=False)

    @_on_device
    def reciprocal_sigma(
        self,
        tile: Array,
        squares: Array,
        masks: Array,
        rects: Sequence[Rect],
        valid: tuple[int, int],
        floor: float,
        precision: str,
    ) -> list[Array]:
        """See base.TileWorker; rows as long as the tile's, and not a number outside of the rects."""
        kernels, (real, half) = self.kernels(precision), PRECISIONS[precision]
        limits = self._upload(np.array([(r.start, r.stop, c.start, c.stop) for r, c in rects]), np.int32)
        out = cupy.empty((len(masks), valid[0], self._shape[1]), np.float32)
        for part in self._chunks(len(masks)):
            n = len(masks[part])
            moments = cupy.empty((n, valid[0], self._shape[1]), half)
            kernels.columns("moment_columns", n, tile, squares, masks[part], moments, _int(valid[0]))
            smallest, height = real.type(floor * floor), _int(valid[0])
            kernels.rows("deviation_rows", valid[0], n, moments, limits[part], smallest, height, out[part])
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
        """See base.TileWorker."""
        kernels, half = self.kernels(precision), PRECISIONS[precision][1]
        addresses = [sigma.data.ptr for sigma in sigmas] * (len(ks) // len(sigmas))
        table = self._upload(np.array([addresses, ks], np.uint64), np.uint64)
        name = f"score {len(sigmas) == 1},{len(maps) > 2}".lower()
        none = np.uintp(0)  # a null pointer
        height, width = maps[0].shape
        for part in self._chunks(len(ks)):
            some = templates[part.start // 2 : -(-part.stop // 2)]
            product = cupy.empty((len(some), height, self._shape[1]), half)
            kernels.columns("product_columns", len(some), tile, some, product, _int(height))
            sizes = tuple(_int(size) for size in (part.stop - part.start, height, width))
            kernels.rows(name, height, 1, product, table[0, part], table[1, part], *sizes, *[*maps, none, none][:4])

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

    threads, cores = 1, 0
    keeps_maps = True
    tiling = GPU_TILING

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.arrays = Arrays(cupy, cupy.fft, affine_transform)
        self.chunk = MOST
        """Templates per launch now, an even number; smaller where memory is or became scarce."""
        self._limit: int | None = None
        self._residents: weakref.WeakKeyDictionary[Blocks, dict[tuple[Any, ...], Array]] = weakref.WeakKeyDictionary()

    def make_room(self, fft_shape: tuple[int, int]) -> None:
        """Choose from the free memory how many templates of a tile shape are transformed at a time, and how many stay.

        A pair of templates needs its product, transformed along the columns: a complex tile, at most of double
        precision. A mask needs as much by itself.
        """
        with cupy.cuda.Device(self.number):
            free = cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()
        each = 16 * fft_shape[0] * fft_shape[1]
        while self.chunk > 2 and self.chunk * each > SHARE_OF_BATCH * free:
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

    def give_up(self) -> bool:
        """When memory ran out: give up what is kept and halve the chunk; False when nothing is left to give up."""
        if self.chunk <= 2 and not any(self._residents.values()):
            return False
        self._residents.clear()
        self._limit = 0
        self.chunk = max(2, self.chunk // 2)
        LOG.warning("%s: out of memory; batches of %d from here on", self.name, self.chunk)
        return True

    def worker(self, fft_shape: tuple[int, int]) -> GpuWorker:
        """See base.Device."""
        if not set(fft_shape) <= set(RADICES):
            height, width = fft_shape
            raise DeviceError(f"{self.name} has no transform of {height} x {width}; use --devices cpu.")
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
