"""The CUDA kernels without a GPU: nvcc compiles them, and a C++ compiler runs them against NumPy."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from emulated_gpu import SOURCE, compile_kernels

TYPES = {"single": np.float32, "double": np.float64}


def architectures(nvcc):
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    numbers = sorted({int("".join(c for c in line if c.isdigit())) for line in listed.split() if line[-1].isdigit()})
    return [f"sm_{number}" for number in numbers]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_every_architecture_compiles(tmp_path):
    nvcc = shutil.which("nvcc")
    found = architectures(nvcc)
    assert "sm_75" in found and "sm_90" in found
    for architecture in (found[0], "sm_75", "sm_80", "sm_90", found[-1]):
        out = tmp_path / f"{architecture}.cubin"
        command = [nvcc, "-cubin", f"-arch={architecture}", "-Werror=all-warnings", str(SOURCE), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert out.stat().st_size > 1000


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return compile_kernels(tmp_path_factory.mktemp("kernels"))


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("precision", ["single", "double"])
def test_score_maximum(kernels, precision, inverted):
    rng = np.random.default_rng(0)
    n, fy, fx, vy, vx, height, width = 5, 21, 24, 18, 19, 17, 13
    product = rng.integers(-9, 10, (n, fy, fx)).astype(TYPES[precision])
    sigmas = [rng.integers(0, 3, (vy, vx)).astype(np.float32) for _ in range(n)]
    addresses = np.array([sigma.ctypes.data for sigma in sigmas], np.uint64)
    ks = np.array([2, 3, 7, 11, 40], np.int32)
    rects = np.array([[0, 17, 0, 13], [2, 9, 0, 13], [0, 17, 5, 5], [3, 17, 1, 12], [0, 17, 0, 13]], np.int32)
    maps = []
    for _ in range(2):
        maps += [rng.integers(-9, 10, (height, width)).astype(np.float32), np.full((height, width), 1, np.int32)]
    expected = [array.copy() for array in maps]
    for pair, sign in ((0, 1), (2, -1))[: 1 + inverted]:
        for i in range(n):
            rows, columns = slice(*rects[i, :2]), slice(*rects[i, 2:])
            score = sign * (product[i, rows, columns] * sigmas[i][rows, columns]).astype(np.float32)
            better = score > expected[pair][rows, columns]
            expected[pair][rows, columns][better] = score[better]
            expected[pair + 1][rows, columns][better] = ks[i]
    arguments = [pointer(a) for a in (product, addresses, ks, rects)]
    getattr(kernels, f"run_score_maximum_{precision}")(
        *arguments,
        *(ctypes.c_int(v) for v in (n, fy, fx, vx, height, width)),
        *(pointer(array) if inverted or i < 2 else None for i, array in enumerate(maps)),
    )
    assert all(np.array_equal(array, wanted) for array, wanted in zip(maps, expected, strict=True))


@pytest.mark.parametrize("precision", ["single", "double"])
def test_reciprocal_deviation(kernels, precision):
    rng = np.random.default_rng(0)
    n, fy, fx, vy, vx = 3, 12, 16, 9, 11
    mean = rng.standard_normal((n, fy, fx)).astype(TYPES[precision])
    square = (mean**2 + np.maximum(rng.standard_normal((n, fy, fx)), 0)).astype(TYPES[precision])
    out = np.full((n, vy, vx), -1, np.float32)
    getattr(kernels, f"run_reciprocal_deviation_{precision}")(
        pointer(mean),
        pointer(square),
        ctypes.c_double(0.01),
        *(ctypes.c_int(v) for v in (n, fy, fx, vy, vx)),
        pointer(out),
    )
    variance = (square - mean**2)[:, :vy, :vx]
    expected = np.where(variance > TYPES[precision](0.01), 1 / np.sqrt(np.maximum(variance, 0.01)), 0)
    assert np.allclose(out, expected, rtol=1e-5)
