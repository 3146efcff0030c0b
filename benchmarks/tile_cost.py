"""Time one template on tiles of several shapes: what `device.tiling.cpu_cost` was fitted to.

python benchmarks/tile_cost.py [--micrograph-size 4096] [--template-size 160] [--masks shared|own]
"""

import argparse

import numpy as np

from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.fft import full_size_inverse
from napari_gempick.device.plan import PlanStore
from napari_gempick.device.tiling import CPU_TILING
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.model.geometry import Grid
from napari_gempick.workflows.bench import TimedSearch, Workload, make_bank

LENGTHS = (512, 640, 768, 864, 960, 1024, 1152, 1280)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--micrograph-size", type=int, default=4096)
    parser.add_argument("--template-size", type=int, default=160)
    parser.add_argument("--masks", choices=["shared", "own"], default="shared")
    options = parser.parse_args()
    size = options.micrograph_size
    plans = PlanStore()
    image = np.random.default_rng(1).standard_normal((size, size)).astype(np.float32)
    prepared = prepare(image, Grid((size, size), 1.0))
    work = Workload(size, options.template_size, masks=options.masks)
    print(f"plain inverse FFT {1e3 * full_size_inverse(size, plans):.1f} ms")
    print("length  tiles  ms per template  ns per pixel  model")
    for length in LENGTHS:
        pool = DevicePool([CpuDevice(1, plans)])
        bank = make_bank(work, 2 * CPU_TILING.shared)
        search = TimedSearch(prepared, bank, lambda key, choose, length=length: (length, length), CPU_TILING)
        run_search(search, pool)
        milliseconds = 1e3 * search.seconds_per_template(1)
        per_pixel = milliseconds * 1e6 / len(search.tiles) / length**2
        model = CPU_TILING.cost(length, length) / length**2
        print(f"{length:6}  {len(search.tiles):5}  {milliseconds:15.1f}  {per_pixel:12.2f}  {model:5.2f}", flush=True)


if __name__ == "__main__":
    main()
