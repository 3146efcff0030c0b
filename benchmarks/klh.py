"""The KLH case as it was published: a side and a top view, rotated masks, a 4 x 4 averaging filter, 4 or 9 degrees.

python benchmarks/klh.py DATA OUT

DATA holds the micrographs klh_*.mrc, their klh_*_truth.csv and the averages klh_side_average_4.4A.mrc and
klh_top_average_4.4A.mrc. OUT gets the results, and the curves of both steps in OUT/curves (pr.png, roc.png, CSV).
Published figures: Hoang, Cavin, Schultz and Ritchie, BMC Struct Biol 2013, 13, 25.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

VIEWS = {"side": "rectangle:400x370", "top": "circle:370"}
RULES = ("--tolerance", "40", "--edge", "110", "--ignore-radius", "100", "--psi-modulo", "90")
THRESHOLDS = ("0.3", "0.4", "auto")
LOWEST = "0.15"


def gempick(*arguments: object) -> str:
    return subprocess.run(["gempick", *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--averaging", type=int, default=4)
    options = parser.parse_args()
    data, out = options.data, options.out
    truth = out / "truth"
    truth.mkdir(parents=True)
    for path in data.glob("klh_*_truth.csv"):
        shutil.copy(path, truth)
    sets, curves = [], []
    for step in (4, 9):
        first = out / f"{step}deg"
        gempick(
            "pick", *sorted(data.glob("klh_[0-9]*.mrc")), "-o", first,
            "--templates", *(f"{view}={data}/klh_{view}_average_4.4A.mrc" for view in VIEWS),
            "--mask", *(f"{view}={mask}" for view, mask in VIEWS.items()),
            "--diameter", 400, "--angle-step", step, "--averaging", options.averaging, "--threshold", LOWEST,
        )  # fmt: skip
        curves.append(f"{step}_degrees={first}")
        for threshold in THRESHOLDS:
            again = out / f"{step}deg_{threshold}"
            shutil.copytree(first, again)
            gempick("retune", again, "--threshold", threshold)
            sets.append(f"{step}_degrees_{threshold}={again}")
    found = json.loads(gempick("evaluate", *sets, truth, *RULES, "--json"))
    best = json.loads(gempick("evaluate", *curves, truth, *RULES, "--json", "-o", out / "curves"))
    print("| step and threshold | picks | precision | recall | F1 | mean distance, px | right view |")
    print("|---|---|---|---|---|---|---|")
    for one in found["sets"]:
        rates = " | ".join(f"{100 * one[key]:.1f} %" for key in ("precision", "recall", "f1"))
        right = f"{100 * one['right_view']:.0f} %"
        print(f"| {one['name']} | {one['picks']} | {rates} | {one['mean_distance']:.1f} | {right} |")
    for one in best["sets"]:
        print(f"{one['name']}: best F1 {one['best_f1']:.3f} at {one['best_threshold']:.2f}")


if __name__ == "__main__":
    main()
