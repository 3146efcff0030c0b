"""The CUDA kernels without a GPU: nvcc compiles them, and a C++ compiler runs them against NumPy."""

import itertools
import math
import shutil
import subprocess

import numpy as np
import pytest

from emulated_gpu import SOURCE, call, compile_kernels, on_device
from napari_gempick.device.tiling import COLUMN_RADICES, GPU_TILING, RADICES, SHARED_MEMORY, gpu_layout


def options_of(shape, itemsize=4):
    layout = gpu_layout(shape, itemsize)
    macros = {"REAL": "float" if itemsize == 4 else "double", "NOT_A_NUMBER": "__int_as_float(0x7fffffff)"}
    return [f"-D{name}={value}" for name, value in (macros | layout.macros).items()], layout


def architectures(nvcc):
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    numbers = sorted({int("".join(c for c in line if c.isdigit())) for line in listed.split() if line[-1].isdigit()})
    return [f"sm_{number}" for number in numbers]


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize("more", [[], ["-DSCORE=true,true"]])
def test_every_architecture_compiles(tmp_path, more):
    nvcc = shutil.which("nvcc")
    found = architectures(nvcc)
    assert "sm_75" in found and "sm_90" in found
    defined = [option[2:].replace("=", " ", 1) for option in (*options_of((576, 512))[0], *more)]
    source = tmp_path / "kernels.cu"
    source.write_text("\n".join([*(f"#define {macro}" for macro in defined), SOURCE.read_text(encoding="utf-8")]))
    for architecture in ("sm_75", "sm_90"):
        out = tmp_path / f"{architecture}.cubin"
        command = [nvcc, "-cubin", "-std=c++17", f"-arch={architecture}", str(source), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert out.stat().st_size > 1000


@pytest.mark.parametrize(
    ("length", "held", "radices"),
    [(length, *choice) for table in (RADICES, COLUMN_RADICES) for length, choice in table.items()],
)
def test_radices_make_a_transform(length, held, radices):
    assert math.prod(radices) == length
    assert all(held % radix == 0 for radix in radices)
    assert len(radices) > 1 and radices[0] % 2 == 0


@pytest.mark.parametrize("itemsize", [4, 8])
def test_layouts_fit_a_gpu(itemsize):
    for shape in itertools.product(GPU_TILING.lengths, repeat=2):
        layout = gpu_layout(shape, itemsize)
        assert max(layout.row_room, layout.column_room) <= SHARED_MEMORY
        assert math.prod(layout.row_block) % 32 == 0
        assert all(32 <= math.prod(block) <= 1024 for block in (layout.row_block, layout.column_block))


@pytest.mark.parametrize(("shape", "itemsize"), [((320, 128), 8), ((192, 800), 4), ((1024, 576), 4)])
def test_forward_transforms(shape, itemsize):
    options, layout = options_of(shape, itemsize)
    library, complex_type = compile_kernels(tuple(options)), {4: np.complex64, 8: np.complex128}[itemsize]
    rng, count, height, width = np.random.default_rng(0), 3, shape[0] - 5, shape[1] - 7
    images = on_device(rng.standard_normal((count, height, width)).astype(np.float32))
    roots = [on_device(np.exp(2j * np.pi * np.arange(n) / n).astype(complex_type)) for n in shape]
    rows = on_device(np.full((2, height, shape[1]), np.nan, complex_type))
    found = on_device(np.full((2, *shape), np.nan, complex_type))
    numbers = [np.int32(number) for number in (2, count, height, width)]
    grid = (-(-height // layout.row_block[1]), 2)
    call(library, "forward_rows_float", grid, layout.row_block, (images, rows, *numbers, roots[1]))
    grid = (2, -(-shape[1] // layout.column_block[0]))
    arguments = (rows, found, np.int32(height), np.int32(0), roots[0])
    call(library, "forward_columns", grid, layout.column_block, arguments)
    padded = np.zeros((2, *shape), complex)
    padded[0, :height, :width] = np.asarray(images[0]) + 1j * np.asarray(images[1])
    padded[1, :height, :width] = images[2]  # an odd one has no partner
    wanted = np.fft.ifft2(padded, norm="forward")
    assert np.abs(np.asarray(found) - wanted).max() < {4: 2e-6, 8: 1e-14}[itemsize] * np.abs(wanted).max()
