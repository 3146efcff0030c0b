"""Measure the engine against one plain full-size inverse FFT of the same run."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.cores import usable_cores
from napari_gempick.device.discover import open_devices
from napari_gempick.device.fft import ROWS, full_size_inverse
from napari_gempick.device.plan import PlanStore
from napari_gempick.device.tiling import CPU_TILING
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.bank import Bank, Section
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.geometry import Grid
from napari_gempick.model.score_maps import BankIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.device.base import Device
    from napari_gempick.device.tiling import Tiling
    from napari_gempick.engine.matching.search import Item, ShapeChooser
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.model.score_maps import ScoreMap

PAPER = {"micrograph_size": 4096, "template_size": 160, "templates": 14630}
"""Hoang et al. 2013: 14,630 templates of 160² against one micrograph of 4096²."""


@dataclass(frozen=True)
class Workload:
    """What to measure.

    Attributes
    ----------
    micrograph_size, template_size : int
        Sides in pixels.
    templates : int
        Rotated templates measured.
    masks : str
        `shared`: one circle for all; `own`: a rectangle turned with each template, no two equal.
    threads : int
        CPU threads in all.
    devices : str
        As `--devices`.
    """

    micrograph_size: int = 4096
    template_size: int = 160
    templates: int = 24
    masks: str = "shared"
    threads: int = 1
    devices: str = "cpu"


class TimedSearch(Search):
    """Notes when pieces of work are done."""

    def __init__(self, prepared: Prepared, bank: Bank, tile_shape: ShapeChooser | None, tiling: Tiling) -> None:
        super().__init__(prepared, bank, tile_shape, tiling)
        self.finished: list[tuple[float, int]] = []
        self.ended = 0.0

    def count_done(self, item: Item) -> None:
        """Count a piece towards the progress, and note the time."""
        super().count_done(item)
        self.finished.append((time.perf_counter(), len(self.units[item.unit].ks)))

    def result(self) -> tuple[ScoreMap, ...]:
        """Return the maps, and note the end: a device may have worked on after its last piece was counted."""
        self.ended = time.perf_counter()
        return super().result()

    def timed(self, units: int = 1) -> int:
        """Return how many rotated templates come after the first units."""
        return sum(len(unit.ks) for unit in self.units[units:])

    def seconds_per_template(self, units: int = 1) -> float:
        """Return the time of one, from the end of the first units to the end of the search."""
        ordered = sorted(self.finished)
        counts = np.cumsum([count for _, count in ordered])
        begun = min(int(np.searchsorted(counts, (self.total - self.timed(units)) * len(self.tiles))), len(counts) - 2)
        return float((self.ended - ordered[begun][0]) / (counts[-1] - counts[begun]) * len(self.tiles))


def make_bank(work: Workload, count: int) -> Bank:
    """Return `count` rotations of one random template under a circle, or under a rectangle turned with it."""
    size = work.template_size
    image = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    if work.masks == "own":
        mask = ShapeMask("rectangle", (0.76 * size, 0.65 * size))
    else:
        mask = ShapeMask("circle", (size - 1.0, size - 1.0))
    full = 180.0 if work.masks == "own" else 360.0  # a rectangle looks the same after half a turn
    index = BankIndex(("template",), (1,), full / count, full)
    return Bank(index, [Section(image, 1.0, mask, "the template")], 1.0)


def copy_bandwidth(device: Device) -> float:
    """Return the bytes per second of a large copy on a GPU, or by one thread; read and write counted."""
    worker = device.worker((64, 64))
    xp = worker.arrays.xp
    source = worker.do(lambda: xp.ones(2**25 if xp is np else 2**29, np.float32))
    target = worker.do(lambda: xp.empty_like(source))
    times = []
    for _ in range(5):
        started = time.perf_counter()
        worker.do(lambda: xp.copyto(target, source))
        worker.to_host(target[:1])  # waits for the copy
        times.append(time.perf_counter() - started)
    return float(2 * source.nbytes / min(times))


def bytes_per_template(search: Search, masks: str) -> int:
    """Return the bytes that one template moves through memory, by the method's count (docs/performance.md)."""
    height, width = search.fft_shape
    if search.tiling is not CPU_TILING:
        whole, valid = 8 * height * width, 8 * search.valid[0] * width
        pair = 2 * whole + 2 * valid  # a tile's and a pair's spectrum in; columns out, rows in
        mask = 3 * whole + 2 * valid + valid  # a tile's, its squares' and a mask's in; 1 / sigma out and in
        return len(search.tiles) * (pair // 2 + (mask if masks == "own" else 0))
    half = 8 * height * (width // 2 + 1)
    inverse = 3 * half + 2 * half + half  # product: two in, one out; columns: in and out; rows: in
    positions = sum(tile.shape[0] * tile.shape[1] for tile in search.tiles) // len(search.tiles)
    reduction = positions * (4 + 4 + 1 + 1)
    if masks == "own":
        return len(search.tiles) * (3 * inverse + reduction + positions * (4 + 4))
    return len(search.tiles) * (inverse + reduction)


def measure(work: Workload, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Run the workload and return its figures.

    The time of a template is taken after each device has done a first unit, which pays for what is done once per
    micrograph (tile spectra, statistics of a shared mask); that is reported apart.
    """
    plans = PlanStore()
    devices = open_devices(work.devices, work.threads, plans)
    pool = DevicePool(devices)
    threads = sum(device.threads for device in devices)
    first = len(devices) * (pool.tiling.own if work.masks == "own" else pool.tiling.shared)
    size = work.micrograph_size
    image = np.random.default_rng(1).standard_normal((size, size)).astype(np.float32)
    started = time.perf_counter()
    prepared = prepare(image, Grid((size, size), 1.0))
    prepare_ms = 1e3 * (time.perf_counter() - started)
    started = time.perf_counter()
    bank = make_bank(work, work.templates + first)
    bank_ms = 1e3 * (time.perf_counter() - started)
    _warm(prepared, work, pool, plans)
    plain = [full_size_inverse(size, plans)]
    if any(device.keeps_maps for device in devices):  # a GPU keeps the rotated templates for the next micrograph
        run_search(Search(prepared, bank, plans.tile_shape, pool.tiling), pool)
    search = TimedSearch(prepared, bank, plans.tile_shape, pool.tiling)
    started = time.perf_counter()
    run_search(search, pool, progress=progress)
    total_ms = 1e3 * (time.perf_counter() - started)
    plain.append(full_size_inverse(size, plans))
    plain_ms = 1e3 * sum(plain) / 2
    per_template = 1e3 * search.seconds_per_template(len(devices))
    bandwidth = copy_bandwidth(devices[0])
    moved = bytes_per_template(search, work.masks)
    return {
        "workload": {**vars(work), "threads": threads, "templates": search.timed(len(devices))},
        "devices": [device.describe() for device in devices],
        "plan": plans.record,
        "tile": {"fft_shape": list(search.fft_shape), "tiles": len(search.tiles), "rows": ROWS},
        "templates_per_second": 1e3 / per_template,
        "ms_per_template": per_template,
        "plain_fft_ms": plain_ms,
        "plain_fft_ms_before_after": [1e3 * seconds for seconds in plain],
        "ratio_to_plain_fft": per_template * threads / plain_ms,
        "once_per_micrograph_ms": max(0.0, total_ms - per_template * len(bank.index)),
        "prepare_micrograph_ms": prepare_ms,
        "make_bank_ms": bank_ms,
        "peak_memory_mib": peak_memory_mib(),
        "bytes_per_template": moved,
        "copy_bandwidth_gb_s": bandwidth / 1e9,
        "share_of_copy_bandwidth": moved / (per_template * threads * 1e-3) / bandwidth,
    }


def _warm(prepared: Prepared, work: Workload, pool: DevicePool, plans: PlanStore) -> None:
    """Make plans and workers before the clock starts, on one template for each thread."""
    bank = make_bank(work, sum(device.threads for device in pool.devices))
    search = Search(prepared, bank, plans.tile_shape, pool.tiling)
    run_search(search, pool)


def peak_memory_mib() -> float:
    """Return the largest resident memory of this process so far, MiB; NaN on Windows, which does not say."""
    try:
        import resource
    except ImportError:
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 2**20


def scaling(work: Workload, most: int = 0) -> list[dict[str, Any]]:
    """Return the figures for 1, 2, 4, ... threads, up to the cores that may be used."""
    most = most or usable_cores()
    counts = sorted({*(2**i for i in range(most.bit_length()) if 2**i <= most), most})
    rows: list[dict[str, Any]] = []
    for count in counts:
        figures = measure(Workload(**{**vars(work), "threads": count}))
        speed = figures["templates_per_second"]
        first = rows[0]["templates_per_second"] if rows else speed
        rows.append({"threads": count, "templates_per_second": speed, "speed_up": speed / first})
    return rows
