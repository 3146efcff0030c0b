"""CuPy's functions that the engine calls, on the host: NumPy arrays with addresses, and the CUDA kernels as C++.

What it cannot show is anything about a GPU itself; what it shows is that the code around the kernels is right. The
threads of a block are fibres that run one after the other from barrier to barrier. Work on a stream is done as late as
it can be, when somebody waits for it: a buffer of the host that is used again too early spoils the result.
"""

import collections
import contextlib
import ctypes
import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
import threading
import types
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage

SOURCE = files("napari_gempick.device").joinpath("kernels.cu")
KERNELS = "forward_rows_float", "forward_columns", "product_columns", "moment_columns", "deviation_rows"
SHARED_MEMORY = 227 * 1024
ONE_AT_A_TIME = threading.Lock()

HARNESS = r"""
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>
#define __global__
#define __device__
#define __host__
#define __shared__
#define __launch_bounds__(...)
struct Index { int x, y; };
static Index blockIdx, threadIdx;
alignas(64) unsigned char memory[SHARED_MEMORY];
static float __int_as_float(int bits) { float value; std::memcpy(&value, &bits, 4); return value; }

struct Fibre { ucontext_t context; std::vector<char> stack; bool done; };
static std::vector<Fibre> fibres;
static ucontext_t scheduler;
static int current;
static std::function<void()> body;
static void __syncthreads() { swapcontext(&fibres[current].context, &scheduler); }
static void enter() { body(); fibres[current].done = true; }

// Run one block; false where some of its threads wait at a barrier that others never reach.
static bool run_block(int width, int height)
{
    const int count = width * height;
    if ((int)fibres.size() < count) fibres.resize(count);
    for (int i = 0; i < count; ++i) {
        Fibre &fibre = fibres[i];
        fibre.stack.resize(1 << 20);
        fibre.done = false;
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack.data();
        fibre.context.uc_stack.ss_size = fibre.stack.size();
        fibre.context.uc_link = &scheduler;
        makecontext(&fibre.context, enter, 0);
    }
    for (int left = count; left > 0;) {
        left = 0;
        for (current = 0; current < count; ++current) {
            threadIdx = {current % width, current / width};
            if (fibres[current].done) return false;
            swapcontext(&scheduler, &fibres[current].context);
            left += !fibres[current].done;
        }
        if (left != 0 && left != count) return false;
    }
    return true;
}

template <typename... A, size_t... I>
static bool launch(void (*kernel)(A...), const int *grid, const int *block, void **arguments, std::index_sequence<I...>)
{
    body = [&] { kernel(*(A *)arguments[I]...); };
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x) {
            std::memset(memory, 0xff, sizeof memory);
            if (!run_block(block[0], block[1])) return false;
        }
    return true;
}

template <typename... A>
static bool launch(void (*kernel)(A...), const int *grid, const int *block, void **arguments)
{
    return launch(kernel, grid, block, arguments, std::index_sequence_for<A...>());
}

#include "kernels.cu"
"""


@functools.cache
def compile_kernels(options):
    """Return kernels.cu with some -D options as ordinary functions `launch_...(grid, block, arguments)`."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    defined = [option for option in options if option.startswith("-D")]
    name = hashlib.blake2b(" ".join(defined).encode(), digest_size=8).hexdigest()
    kernels = KERNELS + ("forward_rows_real",) * ("-DDOUBLE" in defined)
    if any(option.startswith("-DSCORE=") for option in defined):
        kernels = ("score",)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "kernels.cu").write_text(SOURCE.read_text(encoding="utf-8"))
        exported = "\n".join(
            f'extern "C" int launch_{kernel}(const int *grid, const int *block, void **arguments) '
            f"{{ return launch({kernel}, grid, block, arguments); }}"
            for kernel in kernels
        )
        (folder / "harness.cpp").write_text(HARNESS + exported)
        library = folder / f"{name}.so"
        command = [compiler, "-std=c++17", "-O1", "-w", "-shared", "-fPIC", f"-DSHARED_MEMORY={SHARED_MEMORY}"]
        subprocess.run([*command, *defined, str(folder / "harness.cpp"), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))


def c_value(argument):
    """Return a kernel's argument as C passes it."""
    if isinstance(argument, np.ndarray) and argument.ndim:
        assert isinstance(argument, DeviceArray) and argument.flags.c_contiguous
        return ctypes.c_void_p(argument.data.ptr)
    kinds = {np.uintp: ctypes.c_void_p, np.int32: ctypes.c_int, np.float32: ctypes.c_float, np.float64: ctypes.c_double}
    return kinds[type(argument)](argument.item())


def call(library, name, grid, block, arguments):
    """Run a kernel for all blocks of a grid."""
    values = [c_value(argument) for argument in arguments]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    sizes = [(ctypes.c_int * 2)(*size) for size in (grid, block)]
    with ONE_AT_A_TIME:
        assert getattr(library, f"launch_{name}")(*sizes, pointers), f"{name}: not all threads reach the same barriers"


class DeviceArray(np.ndarray):
    """An array with an address, as CuPy's; host arrays come in only through `asarray` and `set`."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)

    def __array_ufunc__(self, ufunc, method, *inputs, **more):
        """Refuse to mix with arrays of the host, as CuPy does."""
        assert all(isinstance(array, DeviceArray) for array in (*inputs, *more.get("out", ())) if np.ndim(array))
        host = [np.asarray(array) for array in inputs]
        if "out" in more:
            getattr(ufunc, method)(*host, **(more | {"out": tuple(np.asarray(array) for array in more["out"])}))
            return more["out"][0]
        return on_device(getattr(ufunc, method)(*host, **more))

    def set(self, array, stream):
        assert not isinstance(array, DeviceArray) and array.flags.c_contiguous
        stream.later(lambda: np.ndarray.__setitem__(self, ..., array))

    def get(self, stream, out):
        stream.later(lambda: out.__setitem__(..., np.asarray(self)))


def on_device(array):
    return np.asarray(array, order="C").view(DeviceArray)


class OutOfMemoryError(MemoryError):
    pass


class CudaError(RuntimeError):
    pass


class CufftError(RuntimeError):
    pass


class Stream:
    """Work that waits until somebody waits for it."""

    thread = threading.local()

    def __init__(self, non_blocking):
        self._waiting, self._done = [], 0

    @classmethod
    def entered(cls):
        """The streams that this thread is inside of."""
        if not hasattr(cls.thread, "streams"):
            cls.thread.streams = []
        return cls.thread.streams

    def __enter__(self):
        self.entered().append(self)
        return self

    def __exit__(self, *error):
        self.entered().pop()

    def later(self, work):
        assert self.entered()[-1] is self, "work for another stream"
        self._waiting.append(work)

    def position(self):
        return self._done + len(self._waiting)

    def work_until(self, position):
        while self._done < position:
            self._waiting.pop(0)()
            self._done += 1

    def synchronize(self):
        self.work_until(self.position())


class Event:
    def __init__(self, disable_timing=False):
        self._stream, self._position = None, 0

    def record(self, stream):
        self._stream, self._position = stream, stream.position()

    def synchronize(self):
        if self._stream is not None:
            self._stream.work_until(self._position)


class Device(contextlib.nullcontext):
    attributes: ClassVar = {"MaxSharedMemoryPerBlockOptin": SHARED_MEMORY}

    def synchronize(self):
        pass


class Memory:
    """Free bytes of the emulated device, and which of the next allocations find no room.

    Attributes
    ----------
    free : int
        As the device reports it; nothing is counted against it.
    fails : callable
        Given the number of an allocation, whether it finds no room.
    """

    def __init__(self):
        self.free, self.fails = 2**34, lambda number: False
        self.count = self.refused = 0

    def allocate(self, size):
        number, self.count = self.count, self.count + 1
        if self.fails(number):
            self.refused += 1
            raise (
                OutOfMemoryError(f"no room for {size} bytes"),
                CudaError("cudaErrorMemoryAllocation: out of memory"),
                CufftError("CUFFT_ALLOC_FAILED"),
            )[self.refused % 3]


def install(monkeypatch):
    """Put an emulated CuPy into sys.modules; returns napari_gempick.device.gpu on it, and the memory to limit."""
    memory = Memory()

    kept = collections.deque(maxlen=200)  # freed arrays are used again in a stream's order: work that waits needs them

    def made(array):
        memory.allocate(array.nbytes)
        kept.append(on_device(array))
        return kept[-1]

    def affine_transform(array, matrix, *args, **more):
        assert isinstance(array, DeviceArray) and isinstance(matrix, DeviceArray)
        return made(scipy.ndimage.affine_transform(np.asarray(array), np.asarray(matrix), *args, **more))

    class RawModule:
        def __init__(self, code, options):
            assert code == SOURCE.read_text(encoding="utf-8")
            self._library = compile_kernels(options)

        def get_function(self, name):
            return Kernel(self._library, name)

    class Kernel:
        max_dynamic_shared_size_bytes = 48 * 1024

        def __init__(self, library, name):
            self._library, self._name = library, name

        def __call__(self, grid, block, arguments, shared_mem):
            assert min(grid) > 0 and max(grid[1:]) < 65536 and np.prod(block) <= 1024
            assert shared_mem <= self.max_dynamic_shared_size_bytes <= SHARED_MEMORY
            Stream.entered()[-1].later(lambda: call(self._library, self._name, grid, block, arguments))

    def empty_pinned(shape, dtype):
        out = np.empty(shape, dtype)
        memory.allocate(out.nbytes)
        return out

    cupy = types.ModuleType("cupy")
    cupy.__version__ = "emulated"
    cupy.asarray = lambda array, dtype=None: made(np.asarray(array, dtype))
    cupy.empty = lambda shape, dtype: made(np.full(shape, 77, dtype))
    cupy.full = lambda shape, value, dtype: made(np.full(shape, value, dtype))
    cupy.zeros = lambda shape: made(np.zeros(shape))
    cupy.stack = lambda arrays: made(np.stack(arrays))
    cupy.sqrt = np.sqrt
    cupy.int32, cupy.float32 = np.int32, np.float32
    cupy.fft = types.SimpleNamespace(
        rfft2=lambda array, s=None: made(scipy.fft.rfft2(np.asarray(array), s=s)),
        irfft2=lambda array, s=None: made(scipy.fft.irfft2(np.asarray(array), s=s)),
    )
    cupy.RawModule = RawModule
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_all_blocks=lambda: None, free_bytes=lambda: 0)
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CudaError,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"emulated"},
        memGetInfo=lambda: (memory.free, 2**34),
    )
    cupy.cuda = types.SimpleNamespace(
        Device=Device,
        Stream=Stream,
        Event=Event,
        get_elapsed_time=lambda first, last: 1.0,
        runtime=runtime,
        cufft=types.SimpleNamespace(CuFFTError=CufftError),
        driver=types.SimpleNamespace(CUDADriverError=CudaError),
        compiler=types.SimpleNamespace(CompileException=CudaError),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_pinned = empty_pinned
    ndimage = types.ModuleType("cupyx.scipy.ndimage")
    ndimage.affine_transform = affine_transform
    modules = {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy": types.ModuleType("cupyx.scipy"), ndimage.__name__: ndimage}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "napari_gempick.device.gpu", raising=False)
    import napari_gempick.device.gpu as gpu

    monkeypatch.delitem(sys.modules, "napari_gempick.device.gpu")
    return gpu, memory
