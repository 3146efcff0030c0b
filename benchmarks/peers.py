"""Compare the engine with what a user would pick instead, on the same data, one thread, adjacent in time.

    python -m venv peers && peers/bin/pip install . scikit-image opencv-python-headless pytme
    peers/bin/python benchmarks/peers.py [--micrograph-size 4096] [--template-size 160] [--templates 4]

Peers that are not installed are left out, visibly. All compute one score map for each template. scikit-image and OpenCV
know no mask: their window is the whole square, so ours is given a square mask, and the scores must agree. pytme is
given rotations of one template, under a circle (FLCSphericalMask) or under a mask that turns with it (FLC), as ours is.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable

import numpy as np

from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.plan import PlanStore
from napari_gempick.device.tiling import CPU_TILING
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.bank import Bank, Section
from napari_gempick.engine.templates.masks import ImageMask
from napari_gempick.model.geometry import Grid
from napari_gempick.model.score_maps import BankIndex
from napari_gempick.workflows.bench import TimedSearch, Workload, measure


def peers() -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """The peers that are installed: name and function of (image, template) that returns the map of full overlaps."""
    found: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {}
    try:
        from skimage.feature import match_template

        found["scikit-image match_template"] = match_template
    except ImportError:
        print("scikit-image is not installed: left out")
    try:
        import cv2

        cv2.setNumThreads(1)
        found["OpenCV matchTemplate"] = lambda image, template: cv2.matchTemplate(image, template, cv2.TM_CCOEFF_NORMED)
    except ImportError:
        print("OpenCV is not installed: left out")
    return found


def ours(image: np.ndarray, templates: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds per template after the first round, and the map of the first template alone."""
    plans = PlanStore()
    size = templates[0].shape
    mask = ImageMask(np.ones(size, np.float32), 1.0)
    prepared = prepare(image, Grid(image.shape, 1.0))

    def search(stack: list[np.ndarray]) -> TimedSearch:
        sections = [Section(template, 1.0, mask, "template") for template in stack]
        bank = Bank(BankIndex(("view",), (len(stack),), 0, 360), sections, 1.0)
        return TimedSearch(prepared, bank, plans.tile_shape, CPU_TILING)

    single = run_search(search(templates[:1]), DevicePool([CpuDevice(1, plans)]))[0].score
    many = search([templates[i % len(templates)] + np.float32(0.01 * i) * templates[0] for i in range(64)])
    run_search(many, DevicePool([CpuDevice(1, plans)]))
    return many.seconds_per_template(1), single


def pytme_milliseconds(image: np.ndarray, template: np.ndarray) -> dict[str, float]:
    """Milliseconds of one more rotation in pytme's two masked scores; nothing when it is not installed."""
    try:
        from tme.analyzer.aggregation import MaxScoreOverRotations
        from tme.matching_data import MatchingData
        from tme.matching_exhaustive import MATCHING_EXHAUSTIVE_REGISTER, match_exhaustive
    except ImportError:
        print("pytme is not installed: left out")
        return {}
    size = template.shape[0]
    y, x = np.mgrid[:size, :size] - size // 2
    mask = (np.hypot(x, y) < size / 2).astype(np.float32)
    found = {}
    for name in ("FLCSphericalMask", "FLC"):
        setup, score = MATCHING_EXHAUSTIVE_REGISTER[name]
        seconds = {}
        for count in (1, 2, 10):  # the first also plans its transforms
            angles = np.linspace(0, np.pi, count, endpoint=False)
            turns = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles], np.float32)
            data = MatchingData(target=image, template=template, template_mask=mask, rotations=turns)
            started = time.perf_counter()
            match_exhaustive(
                data,
                matching_score=score,
                matching_setup=setup,
                callback_class=MaxScoreOverRotations,
                job_schedule=(1, 1),
                interpolation_order=1,
            )
            seconds[count] = time.perf_counter() - started
        found[name] = 1e3 * (seconds[10] - seconds[2]) / 8
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrograph-size", type=int, default=4096)
    parser.add_argument("--template-size", type=int, default=160)
    parser.add_argument("--templates", type=int, default=4, help="templates given to each peer")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    n, t = options.micrograph_size, options.template_size
    image = rng.standard_normal((n, n)).astype(np.float32)
    templates = [rng.standard_normal((t, t)).astype(np.float32) for _ in range(options.templates)]
    seconds, scores = ours(image, templates)
    half = t // 2
    inside = scores[half : half + n - t + 1, half : half + n - t + 1]
    print("| program | ms per template | times ours | largest difference of scores |")
    print("|---|---|---|---|")
    print(f"| napari-gempick | {1e3 * seconds:.0f} | 1.0 | |")
    for name, match in peers().items():
        times = []
        for template in templates:
            started = time.perf_counter()
            found = match(image, template)
            times.append(time.perf_counter() - started)
        median = float(np.median(times))
        apart = (
            float(np.abs(match(image, templates[0]) - inside).max()) if found.shape == inside.shape else float("nan")
        )
        print(f"| {name} | {1e3 * median:.0f} | {median / seconds:.1f} | {apart:.1e} |", flush=True)
    print()
    print("| program, masked, rotations of one template | ms per rotation | times ours |")
    print("|---|---|---|")
    others = pytme_milliseconds(image, templates[0])
    for masks, name in (("shared", "FLCSphericalMask"), ("own", "FLC")):
        mine = measure(Workload(n, t, masks=masks))["ms_per_template"]
        print(f"| napari-gempick, {masks} mask | {mine:.0f} | 1.0 |")
        if name in others:
            print(f"| pytme {name} | {others[name]:.0f} | {others[name] / mine:.1f} |", flush=True)


if __name__ == "__main__":
    main()
