"""How good class averages are, and how long they take: simulated particles of known form and pose, and real ones.

    python benchmarks/averaging.py [--against OTHER/src] [--seeds 3] [--time 600] [--only WORD]

Particles are sums of Gaussians, so the truth is exact at any pose; noise is white, and SNR is the variance of the
particle in a circle of two thirds of the box over that of the noise. `true` is the correlation of the average with the
truth in that circle, at the best angle and shift, and `purity` the share of particles in the class of their kind. Real
particles are compared with the averages that come with the data, in ../shared/data or where GEMPICK_TEST_DATA says.
`--against` runs the same with another version of the package, and prints both.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import tifffile
from scipy import ndimage
from scipy.optimize import minimize

from napari_gempick.workflows.average import average

BOX = 72
LOPSIDED = [(0, 0, 8, 1.0), (17, 3, 4, 0.8), (-11, 13, 3.5, -0.6), (5, -18, 4.5, 0.7)]
"""x, y, width (px) and height of the Gaussians."""
MIRRORED = [(-x, y, width, height) for x, y, width, height in LOPSIDED]
THREEFOLD = [(0, 0, 6, 0.7)] + [(16 * np.cos(a), 16 * np.sin(a), 4, 1.0) for a in np.arange(3) * 2 * np.pi / 3]
RING = [(18 * np.cos(a), 18 * np.sin(a), 3, 1.0) for a in np.arange(15) * 2 * np.pi / 16]
BAR = [(x, 0, 5, 1.0) for x in np.arange(-18, 19, 6)]
FORMS = {"lopsided": LOPSIDED, "three-fold": THREEFOLD, "ring with a gap": RING, "bar": BAR}
Case = dict[str, Any]


def picture(side: int, form: list[Any], psi: float, centre: tuple[float, float]) -> np.ndarray:
    """A particle turned by psi (degrees) about `centre` (x, y)."""
    y, x = np.indices((side, side), np.float32)
    turn = np.radians(psi)
    image = np.zeros((side, side), np.float32)
    for px, py, width, height in form:
        cx = centre[0] + px * np.cos(turn) + py * np.sin(turn)
        cy = centre[1] - px * np.sin(turn) + py * np.cos(turn)
        image += height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    return image


def circle(side: int) -> np.ndarray:
    return np.hypot(*(np.indices((side, side)) - side // 2)) < side / 3


def alike(image: np.ndarray, form: list[Any]) -> float:
    """Correlation with the truth at the best angle and shift."""
    inside, side = circle(len(image)), len(image)
    values = image[inside]

    def against(pose: np.ndarray) -> float:
        truth = picture(side, form, pose[0], (side // 2 + pose[1], side // 2 + pose[2]))
        return -float(np.corrcoef(truth[inside], values)[0, 1])

    grid = [(psi, x, y) for psi in range(0, 360, 8) for x in (-3, 0, 3) for y in (-3, 0, 3)]
    best = sorted(grid, key=lambda pose: against(np.array(pose, float)))[:3]
    steps = np.array([[0, 0, 0], [4, 0, 0], [0, 1.5, 0], [0, 0, 1.5]])
    return max(
        -minimize(against, pose, method="Nelder-Mead", options={"initial_simplex": np.array(pose) + steps}).fun
        for pose in best
    )


def micrograph(case: Case, seed: int, spacing: int = 110) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Particles of the case's forms, how they were clicked, and which form each has."""
    random = np.random.default_rng([seed, case["n"], round(1000 * case["snr"])])
    columns = int(np.ceil(np.sqrt(case["n"])))
    clicks = np.array([divmod(i, columns) for i in range(case["n"])])[:, ::-1] * float(spacing) + spacing
    kinds = np.repeat(np.arange(len(case["forms"])), case.get("sizes") or case["n"] // len(case["forms"]))
    inside = circle(BOX)
    spread = np.mean([picture(BOX, form, 0, (BOX // 2,) * 2)[inside].std() for form in case["forms"]])
    image = random.standard_normal((spacing * (columns + 1),) * 2).astype(np.float32) * spread / case["snr"] ** 0.5
    reach = spacing // 2
    for (x, y), kind in zip(clicks.astype(int), kinds, strict=True):
        off = random.uniform(-case["off"], case["off"], 2)
        psi = random.uniform(0, 360)
        part = picture(2 * reach, case["forms"][kind], psi, (reach + off[0], reach + off[1]))
        image[y - reach : y + reach, x - reach : x + reach] += part
    return image, clicks, kinds


def cases(seeds: int) -> list[Case]:
    found: list[Case] = []
    for name, form in FORMS.items():
        for snr, n in ((1, 12), (1, 40), (0.2, 40), (0.05, 100)):
            found.append({"name": name, "forms": [form], "n": n, "snr": snr, "off": 2.5})
    found += [
        {"name": "lopsided, far off", "forms": [LOPSIDED], "n": n, "snr": snr, "off": 6.0}
        for snr, n in ((1, 12), (0.2, 40), (0.05, 100))
    ]
    found += [
        {"name": "lopsided, many", "forms": [LOPSIDED], "n": 300, "snr": 0.05, "off": 2.5},
        {"name": "mirror pair", "forms": [LOPSIDED, MIRRORED], "n": 80, "snr": 1, "off": 2.5},
        {"name": "mirror pair", "forms": [LOPSIDED, MIRRORED], "n": 80, "snr": 0.2, "off": 2.5},
        {"name": "mirror pair", "forms": [LOPSIDED, MIRRORED], "n": 200, "snr": 0.1, "off": 2.5},
        {"name": "60 and 20", "forms": [LOPSIDED, BAR], "n": 80, "sizes": [60, 20], "snr": 0.2, "off": 2.5},
        {"name": "four kinds", "forms": list(FORMS.values()), "n": 120, "snr": 0.2, "off": 2.5},
    ]
    return [{**case, "seed": seed} for case in found for seed in range(seeds)]


def simulated(case: Case) -> dict[str, Any]:
    image, clicks, kinds = micrograph(case, case["seed"])
    count = len(case["forms"])
    start, before = time.perf_counter(), time.process_time()
    made = average([image], [clicks], BOX, classes=count, defects="keep")
    took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - before}
    tables = [[(made.label[kinds == kind] == label).sum() for label in range(count)] for kind in range(count)]
    order = max(permutations(range(count)), key=lambda order: sum(tables[k][order[k]] for k in range(count)))
    purity = sum(tables[k][order[k]] for k in range(count)) / len(kinds)
    true = [alike(made.images[order[kind]], form) for kind, form in enumerate(case["forms"])]
    return {"true": float(np.mean(true)), "purity": float(purity), **took}


def real(folder: Path) -> dict[str, dict[str, Any]]:
    """Averages of the first 40 particles of each view against the averages that come with the data."""
    found = {}
    for view in ("side", "top"):
        images, places = [], []
        for path in sorted((folder / "klh").glob("klh_00?.mrc")):
            image = mrcfile.read(path).astype(np.float32)
            images.append(image.reshape(1024, 2, 1024, 2).mean(axis=(1, 3)))
            rows = csv.DictReader((folder / "klh" / f"{path.stem}_truth.csv").open())
            places.append(np.array([(float(r["x"]) / 2, float(r["y"]) / 2) for r in rows if r["view"] == view]))
        known = mrcfile.read(folder / "klh" / f"klh_{view}_average_4.4A.mrc")
        found[f"klh {view}"] = _against(images, places, known)
    paths = sorted((folder / "apoferritin").glob("*.tif*"))
    images = [tifffile.imread(path).astype(np.float32) for path in paths]
    places = []
    for path in paths:
        rows = csv.DictReader(next((folder / "apoferritin").glob(f"{path.stem}*truth.csv")).open())
        places.append(np.array([(float(r["x"]), float(r["y"])) for r in rows])[:40])
    known = mrcfile.read(folder / "apoferritin" / "apoferritin_average_1.5A.mrc")
    found["apoferritin"] = _against(images, places, known)
    return found


def _against(images: list[np.ndarray], places: list[np.ndarray], known: np.ndarray) -> dict[str, Any]:
    start, before = time.perf_counter(), time.process_time()
    made = average(images, places, len(known))
    took = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - before}
    inside = circle(len(known))
    best = -1.0
    for psi in range(0, 360, 2):
        turned = ndimage.rotate(made.images[0], psi, reshape=False, order=1, mode="nearest")
        for y in range(-4, 5, 2):
            for x in range(-4, 5, 2):
                moved = np.roll(turned, (y, x), axis=(0, 1))
                best = max(best, float(np.corrcoef(moved[inside], known[inside])[0, 1]))
    return {"true": best, "purity": 1.0, **took}


def measured(seeds: int, count: int, word: str) -> dict[str, dict[str, Any]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for case in cases(seeds):
        name = f"{case['name']}, SNR {case['snr']}, n {case['n']}"
        if word in name:
            rows.setdefault(name, []).append(simulated(case))
            print(name, rows[name][-1], file=sys.stderr, flush=True)
    found: dict[str, dict[str, Any]] = {
        name: {
            "true": float(np.mean([row["true"] for row in row_set])),
            "worst": min(row["true"] for row in row_set),
            "purity": float(np.mean([row["purity"] for row in row_set])),
            "seconds": float(np.mean([row["seconds"] for row in row_set])),
            "cpu": float(np.mean([row["cpu"] for row in row_set])),
        }
        for name, row_set in rows.items()
    }
    data = Path(os.environ.get("GEMPICK_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if data.exists() and word in "real":
        found |= real(data)
    if count:
        row = simulated({"name": "time", "forms": [LOPSIDED], "n": count, "snr": 0.2, "off": 2.5, "seed": 0})
        found[f"{count} particles"] = row
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="the src folder of another version")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--time", type=int, default=600, help="particles of the last row; 0: none")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose names have this word")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.json:
        print(json.dumps(measured(given.seeds, given.time, given.only)))
        return
    versions = {"": measured(given.seeds, given.time, given.only)}
    if given.against:
        options = ["--json", "--seeds", str(given.seeds), "--time", str(given.time), "--only", given.only]
        command = [sys.executable, __file__, *options]
        other = {**os.environ, "PYTHONPATH": str(given.against)}
        done = subprocess.run(command, env=other, check=True, stdout=subprocess.PIPE)
        versions["before: "] = json.loads(done.stdout)
    print("| case | " + " | ".join(f"{v}true | {v}worst | {v}purity | {v}s | {v}CPU s" for v in versions) + " |")
    print("|---|" + "---|" * 5 * len(versions))
    for name in versions[""]:
        cells = [
            f"{row['true']:.3f} | {row.get('worst', row['true']):.3f} | {row['purity']:.2f} | "
            f"{row['seconds']:.1f} | {row['cpu']:.1f}"
            for row in (version[name] for version in versions.values())
        ]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
