"""Check and measure the search on an NVIDIA GPU, in a few minutes and without a network.

python benchmarks/gpu.py [--json FILE] [--data FOLDER] [--only tests,check,speed,layouts,runs] [--emulated]

Checks scores against double precision on the CPU, measures copy bandwidth, cuFFT, each kernel and whole searches, tries
other layouts of the transforms, and runs `gempick pick` on the micrographs in FOLDER (klh_001.mrc and its averages).
--emulated rehearses all of it without a GPU, on small sizes; its times mean nothing.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from gpu_cases import Case, cases, exact

from napari_gempick.device import tiling
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.bank import Bank, Section
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.model.geometry import Grid
from napari_gempick.model.score_maps import BankIndex

ROOT = Path(__file__).resolve().parents[1]
TRIED = {
    1152: [(24, (12, 12, 8)), (24, (8, 12, 12)), (24, (12, 8, 12)), (48, (24, 48))],
    1024: [(16, (16, 8, 8)), (32, (32, 32))],
}
"""Lengths and the elements per thread and radices that `layouts` compares."""
SMALL_TRIED = {96: [(24, (12, 8)), (12, (12, 4, 2))]}
BLOCKS = [(None, None, None), (4, None, None), (16, None, None), (None, 1, None), (None, 4, None), (None, None, 5)]
"""Columns of a block, rows of a block, blocks of rows at a time."""
RUNS = {
    "KLH": "klh_001.mrc klh_002.mrc --templates side=klh_side_average_4.4A.mrc top=klh_top_average_4.4A.mrc "
    "--mask side=rectangle:400x370 top=circle:370 --min-distance 180 --grid full --angle-step 4",
    "KLH, 1,440 templates": "klh_001.mrc klh_002.mrc --templates side=klh_side_average_4.4A.mrc "
    "top=klh_top_average_4.4A.mrc --mask circle:370 --min-distance 180 --grid full --angle-step 0.5",
}
"""Runs of `gempick pick` in the folder of the micrographs."""


class Gpu:
    """What the benchmark asks of CuPy: events, and the device module."""

    def __init__(self, emulated: bool) -> None:
        self.small = emulated
        if emulated:
            import pytest

            sys.path.insert(0, str(ROOT / "tests"))
            import emulated_gpu

            self.module, _ = emulated_gpu.install(pytest.MonkeyPatch())
        else:
            from napari_gempick.device import gpu

            self.module = gpu
        import cupy

        self.cupy = cupy

    def device(self, name: str = "cuda:0"):
        return self.module.GpuDevice(0, name)

    @contextlib.contextmanager
    def timed(self, stream, found: list[float]):
        """Append the seconds that a stream works on what is launched inside."""
        first, last = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        with stream:
            first.record(stream)
            yield
            last.record(stream)
        last.synchronize()
        found.append(1e-3 * self.cupy.cuda.get_elapsed_time(first, last))

    def median(self, stream, do, repeats: int = 7) -> float:
        found: list[float] = []
        do()
        for _ in range(repeats):
            with self.timed(stream, found):
                do()
        return float(np.median(found))


def searched(devices, prepared, bank, tile=None, **more):
    plans = PlanStore()
    pool = DevicePool(devices)
    choose = plans.tile_shape if tile is None else (lambda key, choose: tile)
    search = Search(prepared, bank, choose, pool.tiling, **more)
    maps = run_search(search, pool)
    assert (search.scored <= 1).all() and not pool.failed, pool.failed
    return maps


def check(gpu: Gpu) -> list[dict]:
    """Compare scores on the GPU with float64, a second run, two logical devices, and the CPU beside it."""
    rows = []
    for case in cases(gpu.small):

        def on(*devices: Any, case: Case = case) -> Any:
            return searched(devices, case.prepared, case.bank, case.tile, view=case.view, decoys=True)

        maps, again = on(gpu.device()), on(gpu.device())
        two = on(gpu.device("cuda:0#1"), gpu.device("cuda:0#2"))
        mixed = on(gpu.device(), CpuDevice(2, PlanStore()))
        highest, lowest = exact(case)
        scored = np.isfinite(highest)
        errors = [
            np.abs(found.score - wanted)[scored].max() for found, wanted in zip(maps, (highest, lowest), strict=True)
        ]
        unscored = all((found.index[~scored] == -1).all() for found in maps)
        same = all(
            one.score.tobytes() == other.score.tobytes() and one.index.tobytes() == other.index.tobytes()
            for pair in (again, two)
            for one, other in zip(maps, pair, strict=True)
        )
        beside = max(np.abs(a.score - b.score).max() for a, b in zip(maps, mixed, strict=True))
        good = max(errors) < 1e-4 and unscored and same and beside < 1e-4
        rows.append(
            {
                "case": case.name,
                "error": float(errors[0]),
                "error of decoys": float(errors[1]),
                "same bytes": same,
                "with the CPU": float(beside),
                "good": bool(good),
            }
        )
        print(rows[-1], flush=True)
    return rows


class Rolled:
    """A bank whose rotations cost nothing, so that only the search is timed."""

    def __init__(self, bank: Bank, gpu: Gpu) -> None:
        made = bank.make_templates(range(min(16, len(bank.index))), gpu.device().arrays)
        gpu.cupy.cuda.Device(0).synchronize()
        bank.make_templates = lambda ks, on: on.xp.stack([made[k % len(made)] for k in ks])
        self.bank = bank


def workload(gpu: Gpu, masks: str, count: int, size: int, box: int):
    image = np.random.default_rng(1).standard_normal((size, size)).astype(np.float32)
    template = np.random.default_rng(0).standard_normal((box, box)).astype(np.float32)
    shape = ("rectangle", (0.76 * box, 0.65 * box)) if masks == "own" else ("circle", (box - 1.0, box - 1.0))
    full = 180.0 if masks == "own" else 360.0
    index = BankIndex(("template",), (1,), full / count, full)
    bank = Bank(index, [Section(template, 1.0, ShapeMask(*shape), "template")], 1.0)
    return prepare(image, Grid(image.shape, 1.0)), Rolled(bank, gpu).bank


def bandwidth(gpu: Gpu) -> float:
    """Return the bytes per second of a copy on the device, read and written."""
    cupy = gpu.cupy
    source = cupy.full((2**14 if gpu.small else 2**30,), 1.0, np.float32)
    target = cupy.empty(source.shape, np.float32)
    stream = cupy.cuda.Stream(non_blocking=True)
    if gpu.small:
        return float("nan")
    return 2 * source.nbytes / gpu.median(stream, lambda: cupy.copyto(target, source))


def plain_fft(gpu: Gpu, length: int, count: int) -> float:
    """Return the seconds of one plain inverse real transform of length² in a batch by cuFFT."""
    from cupyx.scipy import fft

    half = gpu.cupy.ones((count, length, length // 2 + 1), np.complex64)
    stream = gpu.cupy.cuda.Stream(non_blocking=True)
    with stream:
        return gpu.median(stream, lambda: fft.irfft2(half, s=(length, length), overwrite_x=True)) / count


def stages(gpu: Gpu, length: tuple[int, int], box: int, count: int, decoys: bool = True) -> dict[str, float]:
    """Return the microseconds per template of each kernel on one tile."""
    cupy = gpu.cupy
    device = gpu.device()
    worker = device.worker(length)
    kernels = worker.kernels("single")
    valid = tuple(n - box + 1 for n in length)
    rng = np.random.default_rng(0)
    pairs = count // 2
    i32 = np.int32
    found = {}
    with worker.stream:
        tile = cupy.asarray(rng.standard_normal((*length, 2)).astype(np.float32).view(np.complex64)[..., 0])
        stack = cupy.asarray(rng.standard_normal((count, box, box)).astype(np.float32))
        spectra = worker.spectra(stack, "single", 2, False)
        sigma = cupy.full((valid[0], length[1]), 1.0, np.float32)
        product = cupy.empty((pairs, valid[0], length[1]), np.complex64)
        table = cupy.asarray(np.array([[sigma.data.ptr] * count, range(count)], np.uint64))
        rects = cupy.asarray(np.array([[0, valid[0], 0, valid[1]]] * pairs, np.int32))
        maps = worker.new_maps(valid, 2 if decoys else 1)
        deviations = cupy.empty((pairs, valid[0], length[1]), np.float32)
        name = "score true,true" if decoys else "score true,false"
        maps = [*maps, np.uintp(0), np.uintp(0)][:4]
        sizes = tuple(i32(n) for n in (count, *valid))
        own = cupy.full((count, valid[0], length[1]), 1.0, np.float32)
        own_table = cupy.asarray(np.array([[one.data.ptr for one in own], range(count)], np.uint64))
        name_own = name.replace("true", "false", 1)
        does = {
            "forward": lambda: worker.spectra(stack, "single", 2, False),
            "product": lambda: kernels.columns("product_columns", pairs, tile, spectra, product, i32(valid[0])),
            "score": lambda: kernels.rows(name, valid[0], 1, product, table[0], table[1], *sizes, *maps),
            "score, own": lambda: kernels.rows(
                name_own, valid[0], 1, product, own_table[0], own_table[1], *sizes, *maps
            ),
            "moments": lambda: kernels.columns("moment_columns", pairs, tile, tile, spectra, product, i32(valid[0])),
            "deviation": lambda: kernels.rows(
                "deviation_rows", valid[0], pairs, product, rects, np.float32(1e-8), i32(valid[0]), deviations
            ),
        }
        for what, do in does.items():
            each = pairs if what in ("moments", "deviation") else count
            found[what] = 1e6 * gpu.median(worker.stream, do) / each
    return found


def speed(gpu: Gpu) -> dict:
    """Measure copy bandwidth, plain transforms, kernels, and whole searches of one large micrograph."""
    size, box = (300, 21) if gpu.small else (4096, 160)
    out: dict = {"copy_gb_s": bandwidth(gpu) / 1e9}
    print(f"copy: {out['copy_gb_s']:.0f} GB/s", flush=True)
    if not gpu.small:
        out["cufft_us"] = {}
        for length, count in ((1152, 64), (1024, 64), (2304, 16), (4096, 4)):
            out["cufft_us"][length] = 1e6 * plain_fft(gpu, length, count)
        print("plain cuFFT c2r, us each:", out["cufft_us"], flush=True)
    out["stages_us"] = {}
    for length in (64, 96) if gpu.small else (576, 1024, 1152, 1536, 2304, 4096):
        valid = length - box + 1
        tiles = (-(-(size - box + 1) // valid)) ** 2
        found = stages(gpu, (length, length), box, 8 if gpu.small else 64)
        found["tiles"] = tiles
        found["templates/s"] = 1e6 / (tiles * (found["product"] + found["score"]) + found["forward"])
        found["own/s"] = 1e6 / (
            tiles * (found["product"] + found["score, own"] + found["moments"] + found["deviation"])
            + 3 * found["forward"]
        )
        out["stages_us"][length] = found
        print(length, {key: round(value, 2) for key, value in found.items()}, flush=True)
    out["searches"] = {}
    for masks, counts in (
        ("shared", (64, 128) if gpu.small else (4096, 16384)),
        ("own", (8, 16) if gpu.small else (1024, 3072)),
    ):
        for decoys in (False, True):
            seconds = []
            for count in counts:
                prepared, bank = workload(gpu, masks, count, size, box)
                device = gpu.device()
                for _ in range(1 if gpu.small else 2):  # templates are rotated in the first turn
                    started = time.perf_counter()
                    searched([device], prepared, bank, decoys=decoys)
                    turn = time.perf_counter() - started
                seconds.append(turn)
            each = (seconds[1] - seconds[0]) / (counts[1] - counts[0])
            row = {"seconds": seconds, "templates/s": 1 / each, "whole micrograph/s": counts[1] / seconds[1]}
            out["searches"][f"{masks}, decoys {decoys}"] = row
            print(
                masks, f"decoys {decoys}", counts, {key: np.round(value, 3) for key, value in row.items()}, flush=True
            )
    return out


def layouts(gpu: Gpu) -> list[dict]:
    """Compare elements per thread and radices of some lengths, columns and rows per block, and blocks at a time."""
    rows = []
    original = tiling.gpu_layout
    for length, options in SMALL_TRIED.items() if gpu.small else TRIED.items():
        kept = tiling.RADICES[length], tiling.COLUMN_RADICES.pop(length, None)
        for number, option in enumerate(options):
            tiling.RADICES[length] = option
            for sizes in BLOCKS if number == 0 and length == 1152 else BLOCKS[:1]:
                gpu.module.gpu_layout = lambda shape, itemsize, most, sizes=sizes: original(
                    shape, itemsize, most, **dict(zip(("columns", "rows", "blocks"), sizes, strict=True))
                )
                row = {"length": length, "option": option, "sizes": sizes}
                try:
                    row |= stages(gpu, (length, length), 21 if gpu.small else 160, 8 if gpu.small else 64)
                except Exception as error:
                    row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
                rows.append(row)
                print(*(round(value, 2) if isinstance(value, float) else value for value in row.values()), flush=True)
        tiling.RADICES[length] = kept[0]
        if kept[1]:
            tiling.COLUMN_RADICES[length] = kept[1]
    gpu.module.gpu_layout = original
    return rows


@contextlib.contextmanager
def watched(gpu: Gpu):
    """Yield a list that gets the events before and after each piece of work of all GPU workers."""
    worker = gpu.module.GpuWorker
    names = ("do", "spectrum", "template_spectra", "mask_spectra", "reciprocal_sigma", "score", "new_maps", "to_host")
    kept = {name: getattr(worker, name) for name in names}
    found: list = []

    def noted(method):
        def wrapped(self, *arguments, **more):
            first, last = gpu.cupy.cuda.Event(), gpu.cupy.cuda.Event()
            first.record(self.stream)
            result = method(self, *arguments, **more)
            last.record(self.stream)
            found.append((first, last))
            return result

        return wrapped

    try:
        for name, method in kept.items():
            setattr(worker, name, noted(method))
        yield found
    finally:
        for name, method in kept.items():
            setattr(worker, name, method)


def runs(gpu: Gpu, data: Path) -> list[dict]:
    """Run `gempick pick` on the GPU and on the CPU: picks, times of the searches, and how long the GPU works."""
    from napari_gempick.cli import main as command

    rows = []
    for name, options in RUNS.items():
        with tempfile.TemporaryDirectory() as made, contextlib.chdir(data):
            for device in ("cuda:0", "cuda:0", "cpu") if name == "KLH" else ("cuda:0",):
                target = Path(made) / f"{len(rows)}"
                started = time.perf_counter()
                with watched(gpu) as events:
                    command(["pick", *options.split(), "-o", str(target), "--devices", device], standalone_mode=False)
                seconds = time.perf_counter() - started
                busy = 1e-3 * sum(gpu.cupy.cuda.get_elapsed_time(first, last) for first, last in events)
                report = json.loads((target / "run.json").read_text())
                found = [(row["picks"], round(row["best_score"], 3)) for row in report["micrographs"]]
                times = [round(row["seconds"], 3) for row in report["micrographs"]]
                rows.append({"run": name, "device": device, "seconds": seconds, "busy": busy, "searches": times})
                rows[-1] |= {"picks and best scores": found}
                print(name, device, f"{seconds:.2f} s, the GPU works {busy:.2f} s,", times, found, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", default="tests,check,speed,layouts,runs")
    parser.add_argument("--emulated", action="store_true")
    options = parser.parse_args()
    gpu = Gpu(options.emulated)
    parts = options.only.split(",")
    figures: dict = {"device": gpu.device().describe()}
    print(figures["device"], flush=True)
    for name, part in (("check", check), ("speed", speed), ("layouts", layouts)):
        if name in parts:
            started = time.perf_counter()
            figures[name] = part(gpu)
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
            if options.json:
                options.json.write_text(json.dumps(figures, indent=1, default=str))
    if "tests" in parts and not options.emulated:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rs", str(ROOT / "tests/gpu/test_gpu.py")], cwd=ROOT
        )
        figures["tests"] = done.returncode
    if "runs" in parts and options.data is not None:
        figures["runs"] = runs(gpu, options.data)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1, default=str))
    if figures.get("tests") or not all(row["good"] for row in figures.get("check", [])):
        sys.exit("Something is wrong on this GPU; see above.")


if __name__ == "__main__":
    main()
