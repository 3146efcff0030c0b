"""CuPy's functions that the engine calls, on the host: NumPy arrays with addresses, and the CUDA kernels as C++.

What it cannot show is anything about a GPU itself; what it shows is that the code around the kernels is right.
"""

import contextlib
import ctypes
import shutil
import subprocess
import sys
import types
from importlib.resources import files

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage

SOURCE = files("napari_gempick.device").joinpath("kernels.cu")

HARNESS = r"""
#include <cmath>
#include <cstddef>
#define __global__
#define __device__
struct Index { int x, y; };
static thread_local Index blockIdx, blockDim, threadIdx;
#include "kernels.cu"
#define LAUNCH(name, width, height, ...)                                                  \
    blockDim = {8, 4};                                                                    \
    for (blockIdx.y = 0; blockIdx.y * blockDim.y < height; ++blockIdx.y)                  \
        for (blockIdx.x = 0; blockIdx.x * blockDim.x < width; ++blockIdx.x)               \
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)                \
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x)            \
                    name(__VA_ARGS__);
#define SCORE(suffix, real)                                                               \
    extern "C" void run_score_maximum_##suffix(const real *p, const unsigned long long *s, \
                                       const int *k, const int *r, int n, int fy, int fx, \
                                       int vx, int h, int w, float *b, int *i,            \
                                       float *c, int *j)                                  \
    { LAUNCH(score_maximum_##suffix, w, h, p, s, k, r, n, fy, fx, vx, h, w, b, i, c, j) } \
    extern "C" void run_reciprocal_deviation_##suffix(const real *m, const real *q,       \
                                           double f, int n, int fy, int fx, int vy,       \
                                           int vx, float *o)                              \
    { LAUNCH(reciprocal_deviation_##suffix, vx, vy, m, q, (real)f, n, fy, fx, vy, vx, o) }
SCORE(single, float)
SCORE(double, double)
"""


def compile_kernels(folder):
    """Return the kernels as ordinary functions `run_...` that loop over the threads."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    (folder / "kernels.cu").write_text(SOURCE.read_text())
    (folder / "harness.cpp").write_text(HARNESS)
    library = folder / "kernels.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", str(folder / "harness.cpp"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


class DeviceArray(np.ndarray):
    """An array with an address, as CuPy's; host arrays are let in by `asarray` and `set` alone."""

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
        return _there(getattr(ufunc, method)(*host, **more))

    def set(self, array, stream):
        assert not isinstance(array, DeviceArray) and array.flags.c_contiguous and stream.used
        np.ndarray.__setitem__(self, ..., array)

    def get(self, stream, out):
        assert stream.used
        out[...] = self


def _there(array):
    return np.ascontiguousarray(array).view(DeviceArray)


class OutOfMemoryError(MemoryError):
    pass


class CudaError(RuntimeError):
    pass


class CufftError(RuntimeError):
    pass


class Stream:
    def __init__(self, non_blocking):
        self.used = False

    def __enter__(self):
        self.used = True
        return self

    def __exit__(self, *error):
        pass

    def synchronize(self):
        pass


class Event:
    def __init__(self, disable_timing):
        self.recorded = 0

    def record(self, stream):
        self.recorded += 1

    def synchronize(self):
        pass


class Memory:
    """Free bytes of the emulated device; transforms of more than `batch` images find no room."""

    def __init__(self):
        self.free, self.batch, self.refused, self.largest = 2**34, 10**6, 0, 0

    def transform(self, n):
        if n > self.batch:
            self.refused += 1
            if self.refused % 2:
                raise OutOfMemoryError(f"no room for {n} images")
            raise CufftError("CUFFT_ALLOC_FAILED")
        self.largest = max(self.largest, n)


def install(monkeypatch, library):
    """Put an emulated CuPy into sys.modules; returns napari_gempick.device.gpu on it, and the memory to limit."""
    memory = Memory()

    def rfft2(array, s=None):
        assert isinstance(array, DeviceArray)
        memory.transform(len(array) if array.ndim == 3 else 1)
        return _there(scipy.fft.rfft2(np.asarray(array), s=s))

    def irfft2(array, s=None, norm=None):
        assert isinstance(array, DeviceArray)
        memory.transform(len(array) if array.ndim == 3 else 1)
        return _there(scipy.fft.irfft2(np.asarray(array), s=s, norm=norm))

    def affine_transform(array, matrix, *args, **more):
        assert isinstance(array, DeviceArray) and isinstance(matrix, DeviceArray)
        return _there(scipy.ndimage.affine_transform(np.asarray(array), np.asarray(matrix), *args, **more))

    class RawModule:
        def __init__(self, code):
            assert code == SOURCE.read_text(encoding="utf-8")

        def get_function(self, name):
            function = getattr(library, f"run_{name}")

            def launch(grid, block, arguments):
                assert min(grid) > 0 and np.prod(block) <= 1024
                passed = []
                for argument in arguments:
                    if isinstance(argument, DeviceArray):
                        assert argument.flags.c_contiguous
                        passed.append(ctypes.c_void_p(argument.data.ptr))
                    elif isinstance(argument, np.uintp):
                        passed.append(ctypes.c_void_p(int(argument)))
                    elif isinstance(argument, np.int32):
                        passed.append(ctypes.c_int(int(argument)))
                    else:
                        assert isinstance(argument, np.floating)
                        passed.append(ctypes.c_double(float(argument)))
                function(*passed)

            return launch

    cupy = types.ModuleType("cupy")
    cupy.__version__ = "emulated"
    cupy.asarray = lambda array, dtype=None: _there(np.asarray(array, dtype))
    cupy.empty = lambda shape, dtype: _there(np.full(shape, 77, dtype))
    cupy.full = lambda shape, value, dtype: _there(np.full(shape, value, dtype))
    cupy.stack = lambda arrays: _there(np.stack(arrays))
    cupy.conj = np.conjugate
    cupy.int32, cupy.float32, cupy.uint64 = np.int32, np.float32, np.uint64
    cupy.fft = types.SimpleNamespace(rfft2=rfft2, irfft2=irfft2)
    cupy.RawModule = RawModule
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_all_blocks=lambda: None, free_bytes=lambda: 0)
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CudaError,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"emulated"},
        memGetInfo=lambda: (memory.free, 2**34),
    )
    cupy.cuda = types.SimpleNamespace(
        Device=lambda number: contextlib.nullcontext(),
        Stream=Stream,
        Event=Event,
        runtime=runtime,
        driver=types.SimpleNamespace(CUDADriverError=CudaError),
        cufft=types.SimpleNamespace(CuFFTError=CufftError),
        compiler=types.SimpleNamespace(CompileException=CudaError),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    cupyx = types.ModuleType("cupyx")
    cupyx.empty_pinned = np.empty
    ndimage = types.ModuleType("cupyx.scipy.ndimage")
    ndimage.affine_transform = affine_transform
    modules = {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy": types.ModuleType("cupyx.scipy"), ndimage.__name__: ndimage}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "napari_gempick.device.gpu", raising=False)
    import napari_gempick.device.gpu as gpu

    monkeypatch.delitem(sys.modules, "napari_gempick.device.gpu")
    return gpu, memory
