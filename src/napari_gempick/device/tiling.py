"""Tile lengths of each kind of device: which ones it transforms fast, and what a template on a tile costs there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Tiling:
    """What decides the tiles of a search.

    Attributes
    ----------
    name : str
        Names its choices in a stored plan.
    lengths : tuple of int
        Lengths of the transforms, ascending.
    cost : callable
        `cost(height, width)` is the modelled time in ns of one template on one tile.
    spectrum_cost : callable
        The same of what is done once for each template, whatever the number of tiles.
    shared, own : int
        Most templates that meet a tile together: under a shared mask, and under masks of their own.
    """

    name: str
    lengths: tuple[int, ...]
    cost: Callable[[int, int], float]
    spectrum_cost: Callable[[int, int], float]
    shared: int
    own: int


def _length_cost(length: int) -> float:
    """Relative cost of a transform of this length, one axis: few factors of two and odd factors cost more."""
    cost = 1.0 + (0.06 if length % 16 else 0.02 if length % 32 else 0.0)
    for prime, weight in ((3, 0.025), (5, 0.015), (7, 0.07)):
        while length % prime == 0:
            length //= prime
            cost += weight
    return cost


def cpu_cost(height: int, width: int) -> float:
    """Return the modelled time in ns of one template on one tile: product, inverse transform, scale and maximum.

    Fitted to measurements on one core of an x86 server (benchmarks/tile_cost.py): about 2 ns per pixel while a tile
    stays in the second-level cache, 0.45 ns more for every doubling, and a steep rise where two spectra and the maxima
    of a tile outgrow the third level.
    """
    pixels = height * width
    doublings = math.log2(pixels)
    per_pixel = max(1.9, 2.58 + 0.45 * (doublings - 19.17)) + 3 * max(0.0, doublings - 20.2)
    return 20_000 + pixels * per_pixel * _length_cost(height) * _length_cost(width)


def gpu_cost(height: int, width: int) -> float:
    """Return the modelled time in ns of one template on one tile.

    Fitted to measurements on an NVIDIA H200 (benchmarks/gpu.py): 5 ps for each pixel of a tile of 1024², 0.4 ps more
    for every doubling, and small tiles do not fill the GPU.
    """
    pixels = height * width
    return 600 + pixels * (0.0048 + 0.0004 * max(0.0, math.log2(pixels) - 20))


def gpu_spectrum_cost(height: int, width: int) -> float:
    """Return the modelled time in ns of one template's spectrum, which all tiles use."""
    return 0.0022 * height * width


_FAST = sorted(2**a * 3**b * 5**c * 7**d for a in range(4, 13) for b in range(4) for c in range(3) for d in range(2))

RADICES: dict[int, tuple[int, tuple[int, ...]]] = {
    64: (8, (8, 8)),
    96: (24, (12, 8)),
    128: (16, (16, 8)),
    192: (24, (8, 24)),
    256: (16, (16, 16)),
    320: (20, (4, 20, 4)),
    384: (24, (8, 6, 8)),
    400: (20, (20, 20)),
    512: (16, (8, 8, 8)),
    576: (24, (8, 6, 12)),
    768: (24, (8, 8, 12)),
    800: (20, (10, 20, 4)),
    864: (24, (12, 12, 6)),
    1024: (16, (16, 8, 8)),
    1152: (24, (12, 12, 8)),
    1536: (24, (8, 8, 24)),
    1600: (20, (20, 20, 4)),
    1728: (24, (12, 12, 12)),
    2048: (16, (16, 16, 8)),
    2304: (24, (12, 8, 24)),
    3072: (24, (8, 8, 6, 8)),
    3456: (24, (12, 12, 24)),
    4096: (16, (16, 16, 16)),
    4608: (24, (8, 24, 24)),
    6144: (24, (8, 8, 8, 12)),
    8192: (16, (16, 8, 8, 8)),
}
"""Lengths of transforms on a GPU: elements that a thread holds, and the radices, of which each divides that number."""
COLUMN_RADICES = {1024: (32, (32, 32))}
"""Where columns are faster with others."""

CPU_TILING = Tiling(
    "cpu", tuple(n for n in _FAST if 16 <= n <= 8192), cpu_cost, lambda height, width: 0.0, shared=32, own=8
)
GPU_TILING = Tiling("gpu", tuple(RADICES), gpu_cost, gpu_spectrum_cost, shared=64, own=32)

SHARED_MEMORY = 227 * 1024
"""Bytes of shared memory that a block can have on a GPU of compute capability 9.0; others have less."""
_REGISTERS = 65536


@dataclass(frozen=True)
class GpuLayout:
    """How the transforms of a tile shape are laid out on a GPU.

    Attributes
    ----------
    macros : dict of str
        For kernels.cu.
    row_block, column_block : (x, y)
        Threads of a block.
    row_room, column_room : int
        Bytes of shared memory of a block.
    """

    macros: dict[str, Any]
    row_block: tuple[int, int]
    row_room: int
    column_block: tuple[int, int]
    column_room: int


def gpu_layout(
    shape: tuple[int, int],
    itemsize: int,
    most: int = SHARED_MEMORY,
    columns: int | None = None,
    rows: int | None = None,
    blocks: int | None = None,
) -> GpuLayout:
    """Return the layout for tiles (fy, fx) whose real numbers take `itemsize` bytes.

    A block transforms several columns side by side, so that memory is read in pieces of 32 bytes or more. It may have
    `most` bytes of shared memory. As many blocks run on a multiprocessor as its registers and shared memory allow.
    Benchmarks set `columns` and `rows` of a block, and `blocks` of rows on a multiprocessor.
    """
    (height, width), size = shape, 2 * itemsize
    (held_y, radices_y), (held_x, radices_x) = COLUMN_RADICES.get(height, RADICES[height]), RADICES[width]
    down, across = height // held_y, width // held_x
    column = size * (height + height // radices_y[0])
    if columns is None:
        columns = 16
        while columns > 1 and (columns * down > (384 if columns > 8 else 1024) or columns * column > most):
            columns //= 2
    rows = rows or next(n for n in range(1, 33) if n * across % 32 == 0 and n * across >= 64)  # whole warps
    macros: dict[str, Any] = {"COLUMNS": columns, "ROWS": rows}
    for axis, length, held, radices, threads, registers in (
        ("Y", height, held_y, radices_y, columns * down, 32 + 2 * held_y),
        ("X", width, held_x, radices_x, rows * across, 56 + 4 * held_x),
    ):
        macros |= {f"F{axis}": length, f"HELD_{axis}": held, f"RADICES_{axis}": ",".join(map(str, radices))}
        warps = -(-threads // 32)
        macros[f"BLOCKS_{axis}"] = max(1, min(16, _REGISTERS // (32 * warps * min(255, registers * itemsize // 4))))
    macros["BLOCKS_X"] = blocks or macros["BLOCKS_X"]
    room = rows * size * (width + width // radices_x[0])
    return GpuLayout(macros, (across, rows), room, (columns, down), columns * column)
