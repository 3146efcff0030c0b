"""How far the scores of a coarser grid are from the full grid's at the positions that both share.

    python benchmarks/cropped_grid.py

White noise and a blob, one circular mask; the low-pass is the coarser grid's Nyquist frequency, the same on both grids,
as is the mask: diameter and width of its soft edge in pixels of the coarser grid.
"""

from fractions import Fraction

import numpy as np

from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.bank import Bank, Section
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.geometry import Grid
from napari_gempick.model.score_maps import BankIndex

PIXEL = 2.0


def blob(size: int, width: float) -> np.ndarray:
    """A lopsided particle in the middle of a (size, size) image."""
    y, x = np.mgrid[:size, :size] - size // 2
    main = np.exp(-(x**2 + y**2) / (2 * width**2))
    return (main + 0.7 * np.exp(-((x - width) ** 2 + (y - 2 * width) ** 2) / width**2)).astype(np.float32)


def difference(ratio: Fraction, across: float, edge: float, plans: PlanStore) -> tuple[float, float]:
    """Largest and root mean square difference of the scores at shared positions."""
    coarse = PIXEL * float(ratio)
    size = round(4 * across * float(ratio)) // ratio.numerator * ratio.numerator
    box = round(1.2 * across * float(ratio))
    template = blob(box, across * float(ratio) / 8)
    image = 0.3 * np.random.default_rng(1).standard_normal((size, size)).astype(np.float32)
    image[:box, :box] += template
    maps = []
    for r in (Fraction(1), ratio):
        grid = Grid((size, size), PIXEL, r)
        mask = ShapeMask("circle", (across * coarse,) * 2, edge * coarse)
        section = Section(template, PIXEL, mask, "the template")
        index = BankIndex(("view",), (1,), 40, 360)
        bank = Bank(index, [section], grid.map_pixel_size, lowpass=2 * coarse, oversampling=grid.oversampling)
        search = Search(prepare(image, grid, 2 * coarse), bank, plans.tile_shape)
        maps.append(run_search(search, DevicePool([CpuDevice(2, plans)]))[0])
    full, cropped = maps
    step = (slice(None, None, ratio.numerator),) * 2
    every = (slice(None, None, ratio.denominator),) * 2
    both = (full.index[step] >= 0) & (cropped.index[every] >= 0)
    apart = np.abs(full.score[step] - cropped.score[every])[both]
    return float(apart.max()), float(np.sqrt((apart**2).mean()))


def main() -> None:
    plans = PlanStore()
    print("| ratio | mask (coarse px) | edge (coarse px) | largest difference | root mean square |")
    print("|---|---|---|---|---|")
    for ratio in (Fraction(3, 2), Fraction(2), Fraction(3), Fraction(4), Fraction(8)):
        for across in (9, 18, 36):
            for edge in (0, 1, 2, 3):
                largest, rms = difference(ratio, across, edge, plans)
                print(f"| {ratio} | {across} | {edge} | {largest:.5f} | {rms:.5f} |", flush=True)


if __name__ == "__main__":
    main()
