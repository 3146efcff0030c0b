"""Pick the sample data, compare the picks with the truth and draw them: what `make demo` runs.

Calls the command `gempick` as a user would, then reads what it wrote.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from napari_gempick.evaluation.plots import overlay
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.images.micrograph import read_micrograph

ROOT = Path(__file__).resolve().parents[1]
DATA, OUTPUT = Path("sample_data"), Path("demo_output")
TOLERANCE_PX = 10


def gempick(*arguments: str) -> str:
    """Run a command of gempick in the root of the repository and return what it prints on stdout."""
    print("$", *["gempick", *arguments], end="\n\n", flush=True)
    command = [sys.executable, "-m", "napari_gempick", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def pick() -> dict[str, Any]:
    """Pick the micrographs of the sample data and return what run.json says."""
    files = {kind: [f"{v}={DATA}/{kind}_{v}.mrc" for v in ("side", "top")] for kind in ("template", "mask")}
    print(
        gempick(
            "pick", f"{DATA}/micrograph_*.mrc", "--templates", *files["template"], "--mask", *files["mask"],
            "--overwrite", "-o", str(OUTPUT),
        )
    )  # fmt: skip
    run: dict[str, Any] = json.loads((ROOT / OUTPUT / "run.json").read_text(encoding="utf-8"))
    return run


def evaluate() -> dict[str, Any]:
    """Compare the picks with the truth and return the numbers of all micrographs together."""
    text = gempick("evaluate", str(OUTPUT), str(DATA), "--tolerance", str(TOLERANCE_PX), "--json")
    result: dict[str, Any] = json.loads(text)["sets"][0]
    return result


def print_table(run: dict[str, Any], result: dict[str, Any]) -> None:
    """Print picks, precision and recall of each view and of all."""
    table = Table(box=None, pad_edge=False)
    table.add_column("view")
    for heading in ("picks", "counted", "particles", "precision", "recall"):
        table.add_column(heading, justify="right")
    views = {view["name"]: view for view in result["per_view"]}
    rows = [(name, [name], views[name]) for name in views] + [("all", list(views), result)]
    for name, members, numbers in rows:
        picks = sum(micrograph["picks_per_view"].get(view, 0) for micrograph in run["micrographs"] for view in members)
        rates = (f"{numbers[key]:.3f}" for key in ("precision", "recall"))
        table.add_row(name, str(picks), str(numbers["picks"]), str(numbers["truth"]), *rates)
    Console(width=100).print(table)
    print(f"\nA pick is right within {TOLERANCE_PX} px of a particle. Picks on particles that the truth calls `ignore`")
    print("(tilted between both views, or cut by the edge) are not counted.\n")


def print_speed(run: dict[str, Any]) -> None:
    """Print how many rotated templates were correlated with a micrograph per second."""
    images, micrographs = len(run["search_images"]["k"]), run["micrographs"]
    seconds = sum(micrograph["seconds"] for micrograph in micrographs)
    height, width = micrographs[0]["shape"]
    devices = ", ".join(f"{device['model']} ({device.get('threads', 1)} threads)" for device in run["devices"])
    print(f"{images} rotated templates on each of {len(micrographs)} micrographs of {width} x {height} px", end="")
    print(f" in {seconds:.1f} s: {images * len(micrographs) / seconds:.0f} templates/s")
    print(f"on {devices}. The first run on a computer also plans the FFTs.\n")


def draw(run: dict[str, Any]) -> list[Path]:
    """Draw each micrograph with its picks and return the pictures' paths."""
    views = [view["name"] for view in run["views"]]
    paths = []
    for row in run["micrographs"]:
        found = read_coordinates(ROOT / OUTPUT / f"{row['name']}_autopick.star").picks
        truth = read_coordinates(ROOT / DATA / f"{row['name']}_truth.csv")
        whole = np.array(truth.columns["view"]) != "ignore"
        path = OUTPUT / f"{row['name']}_overlay.png"
        overlay(
            ROOT / path,
            read_micrograph(row["path"], None).data,
            replace(found, view=found.section),  # one template for each view
            views,
            pixel_size=row["pixel_size"],
            diameter=run["diameter"],
            truth=(truth.picks.x[whole], truth.picks.y[whole]),
            title=f"{row['name']}: {row['picks']} picks, score at least {run['settings']['threshold'][0]}",
        )
        paths.append(path)
    return paths


def main() -> None:
    """Run the demo."""
    run = pick()
    result = evaluate()
    print_table(run, result)
    print_speed(run)
    pictures = draw(run)
    print("Written, below the folder of the repository:")
    for path, what in [
        *((picture, "picture of the picks") for picture in pictures),
        (OUTPUT / "micrograph_00*_autopick.star", "coordinates for RELION"),
        (OUTPUT / "candidates", "all local maxima of the score maps, for gempick retune"),
        (OUTPUT / "run.json", "settings, versions, timings"),
    ]:
        print(f"  {path!s:<44}{what}")


if __name__ == "__main__":
    main()
