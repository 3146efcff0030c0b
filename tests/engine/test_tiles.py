"""Tiles: each position lies in one of them, none wraps around, and their shape is the cheapest."""

from dataclasses import replace

import numpy as np
import pytest

from napari_gempick.device.tiling import CPU_TILING, GPU_TILING
from napari_gempick.engine.tiles import Tile, choose_fft_shape, layout
from napari_gempick.model.geometry import Extent

EXTENT = Extent(20, 18, 21, 17)


@pytest.mark.parametrize("fft_shape", [(64, 96), (48, 200), (512, 512)])
def test_tiles_hold_every_position_once_and_its_box(fft_shape):
    counts = np.zeros((230, 310), int)
    for tile in layout(slice(20, 209), slice(18, 293), EXTENT, fft_shape):
        counts[tile.rows, tile.columns] += 1
        assert (tile.top, tile.left) == (tile.rows.start - EXTENT.top, tile.columns.start - EXTENT.left)
        assert all(n + b - 1 <= f for n, b, f in zip(tile.shape, EXTENT.box, fft_shape, strict=True))
    assert (counts[20:209, 18:293] == 1).all() and counts.sum() == 189 * 275
    assert layout(slice(20, 20), slice(18, 293), EXTENT, fft_shape) == []


@pytest.mark.parametrize("tiling", [CPU_TILING, GPU_TILING], ids=lambda one: one.name)
@pytest.mark.parametrize("positions", [(189, 275), (1200, 700), (1, 1)])
def test_the_shape_of_the_tiles_costs_least(tiling, positions):
    """Counted with the tiles that `layout` makes, over all lengths that hold more than the box."""
    few = replace(tiling, lengths=tiling.lengths[::5])
    rows, columns = slice(0, positions[0]), slice(0, positions[1])

    def cost(shape):
        return len(layout(rows, columns, EXTENT, shape)) * few.cost(*shape) + few.spectrum_cost(*shape)

    lengths = [[n for n in few.lengths if n >= box] for box in EXTENT.box]
    least = min(cost((fy, fx)) for fy in lengths[0] for fx in lengths[1])
    assert cost(choose_fft_shape(positions, EXTENT.box, few)) == least


def test_a_wider_tile_stays_within_the_map():
    tile = Tile(slice(10, 30), slice(40, 60), 3, 5)
    assert tile.wider(4, slice(8, 100), slice(0, 61)) == Tile(slice(8, 34), slice(36, 61), 1, 1)
