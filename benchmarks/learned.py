"""What the learned score is worth: NCC against learned, at thresholds by `auto --pool`, without a label and with 20.

python benchmarks/learned.py DATA [--simulated] [--work FOLDER] [--labels N]

DATA      the folder of the real micrographs (betagal, apoferritin_raw, apoferritin, klh)
--simulated  the 20 simulated micrographs of benchmarks/fdr.py as one run as well
--work    keep the results there, and use what is there already
--labels  random candidates of one micrograph that are labelled by the truth; F1 on the others, mean of four draws

Each set is picked once, and retuned with either score.
"""

import argparse
import contextlib
import csv
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import fdr
import numpy as np

from napari_gempick.cli import main as gempick
from napari_gempick.engine.picking.learned import FOLDS, Lesson, features, teach
from napari_gempick.engine.picking.peaks import select
from napari_gempick.engine.picking.run_evidence import RunEvidence
from napari_gempick.evaluation.metrics import summarise
from napari_gempick.io.candidates import read_candidates
from napari_gempick.model.picks import best_first
from napari_gempick.results.thresholds import scores_of, selection_for, without_thresholds


class Set(NamedTuple):
    """A set of micrographs below DATA: projections of a map as templates, or averages; options, truth and its rules."""

    micrographs: str
    projected: tuple
    options: tuple
    truth: str
    rules: tuple


PROJECTED = ("apoferritin/apoferritin_map_3.0A.mrc", "--symmetry", "O", "--pixel-size", 1.5)
APOFERRITIN = ("--contrast", "opposite", "--pixel-size", 1.5, "--angle-step", 15)
CLEAN = ("--exclude", "auto")
RULES = ("--tolerance", 25, "--edge", 70)
SETS = {
    "beta-galactosidase, two": Set(
        "betagal/Falcon*.mrc",
        ("betagal/betagal_map_3.54A.mrc", "--symmetry", "D2", "--angle-step", 15),
        (
            "--contrast",
            "opposite",
            "--diameter",
            190,
            "--lowpass",
            20,
            "--pixel-size",
            1.77,
            "--angle-step",
            15,
            *CLEAN,
        ),
        "betagal",
        ("--tolerance", 45, "--edge", 150, "--recall-on", "source=both"),
    ),
    "apoferritin before averaging, three": Set(
        "apoferritin_raw/*.tif", PROJECTED, (*APOFERRITIN, "--lowpass", 30), "apoferritin", RULES
    ),
    "apoferritin, three": Set("apoferritin/*.tif", PROJECTED, (*APOFERRITIN, "--lowpass", 20), "apoferritin", RULES),
    "KLH, two": Set(
        "klh/klh_0*.mrc",
        (),
        ("--diameter", 400, "--angle-step", 6, "--lowpass", 15),
        "klh",
        ("--tolerance", 40, "--edge", 110, "--ignore-radius", 100),
    ),
}


def call(*arguments: object) -> str:
    """Run a command and return what it prints."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        gempick([str(argument) for argument in arguments])
    return printed.getvalue()


def picked(name: str, data: Path, work: Path) -> Path:
    """Pick a set, unless that is done; return the folder."""
    one = SETS[name]
    folder = work / name.replace(",", "").replace(" ", "_")
    if not (folder / "run.json").exists():
        templates = [f"{view}={data}/klh/klh_{view}_average_4.4A.mrc" for view in ("side", "top")]
        if one.projected:
            made = work / f"{folder.name}.mrcs"
            call("templates", "project", data / one.projected[0], "-o", made, *one.projected[1:], "--overwrite")
            templates = [f"one={made}"]
        micrographs = sorted(data.glob(one.micrographs))
        call("pick", *micrographs, "--templates", *templates, *one.options, "--threshold", "auto", "-o", folder)
    return folder


def judged(name: str, data: Path, folder: Path, *retuning: object) -> dict:
    call("retune", folder, "--threshold", "auto", "--pool", *retuning)
    return json.loads(call("evaluate", folder, data / SETS[name].truth, *SETS[name].rules, "--json"))


def with_labels(name: str, data: Path, folder: Path, count: int, work: Path) -> float:
    """Label random candidates of one micrograph by the truth; return the mean F1 of the other micrographs."""
    stems = [row["name"] for row in json.loads((folder / "run.json").read_text())["micrographs"]]
    truth = {stem: data / SETS[name].truth / f"{stem}_truth.csv" for stem in stems}
    found = []
    for draw in range(4):
        one = stems[draw % len(stems)]
        picks = read_candidates(folder / "candidates" / f"{one}.star").picks
        with open(truth[one], newline="") as file:
            places = np.array([(row["x"], row["y"]) for row in csv.DictReader(file)], float)
        highest = np.random.default_rng(draw).permutation(min(len(picks), 2 * len(places)))[:count]
        with open(work / "labels.csv", "w") as file:
            file.write("micrograph,x,y,label\n")
            for i in highest:
                near = np.hypot(*(places - (picks.x[i], picks.y[i])).T).min() <= SETS[name].rules[1]
                file.write(f"{one},{picks.x[i]},{picks.y[i]},{'good' if near else 'bad'}\n")
        judged(name, data, folder, "--score", "learned", "--teach", work / "labels.csv")
        for stem in stems:
            if stem != one:
                star = folder / f"{stem}_autopick.star"
                found.append(json.loads(call("evaluate", star, truth[stem], *SETS[name].rules, "--json"))["f1"])
    return float(np.mean(found))


def simulated() -> None:
    """The 20 simulated micrographs as one run, by both scores."""
    import napari_gempick as gp

    cases = list(fdr.simulated(20, (0.5, 0.004), 2048, [120]))
    ncc = [gp.pick(case.image, case.templates, case.settings) for case in cases]
    chosen, sizes, lessons = [], [], []
    for case, found in zip(cases, ncc, strict=True):
        pixel = found.scores.grid.map_pixel_size
        selection = selection_for(case.settings, tuple(case.templates), found.diameter, case.settings.pixel_size, pixel)
        chosen.append(without_thresholds(selection, -1.0))
        sizes.append(found.diameter / pixel)
        rows = []
        for kind, inverted in ((found.candidates, False), (found.decoys, True)):
            numbered = replace(kind, k=np.arange(len(kind), dtype=np.int32))
            which = select(numbered, chosen[-1], case.image.shape).k
            rows.append(features(kind, sizes[-1], inverted=inverted)[which])
        lessons.append(Lesson(*rows, rows[0][:0], np.zeros(0, bool)))
    weights = [teach([one for i, one in enumerate(lessons) if i % FOLDS != fold]) for fold in range(FOLDS)]

    def scored(kind: gp.Picks, number: int, inverted: bool) -> gp.Picks:
        values = weights[number % FOLDS].score(features(kind, sizes[number], inverted=inverted))
        return best_first(replace(kind, score=values))

    learned = [
        replace(one, candidates=scored(one.candidates, i, False), decoys=scored(one.decoys, i, True))
        for i, one in enumerate(ncc)
    ]
    print("\n| simulated, 20 as one run | mean F1 | estimated rate within 0.05 | worst |\n|---|---|---|---|")
    for label, results in (("NCC", ncc), ("learned", learned)):
        parts = [
            scores_of(found.candidates, found.decoys, selection, -1.0, case.image.shape)
            for case, found, selection in zip(cases, results, chosen, strict=True)
        ]
        run, off, f1 = RunEvidence(parts), [], []
        for number, (case, found) in enumerate(zip(cases, results, strict=True)):
            rates = tuple(run.rates(number))
            thresholds = tuple(np.inf if (best := rate.best_threshold()) is None else best for rate in rates)
            picks = select(found.candidates, replace(chosen[number], thresholds=thresholds), case.image.shape)
            summary = summarise([fdr.matched(case, picks)])
            off.append(
                fdr.estimate(replace(found, rates=rates), thresholds) - (1 - summary.precision if summary.picks else 0)
            )
            f1.append(summary.f1)
        print(
            f"| {label} | {np.mean(f1):.3f} | {np.count_nonzero(np.abs(off) <= 0.05)} | {max(off, key=abs):+.3f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--labels", type=int, default=0)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    print("| micrographs | score | precision | recall | F1 | estimated false | true | weights |\n" + "|---" * 8 + "|")
    for name in SETS:
        folder = picked(name, options.data, work)
        for score in ("ncc", "learned"):
            result = judged(name, options.data, folder, "--score", score)
            run = json.loads((folder / "run.json").read_text())
            rows = [row for row in run["micrographs"] if "error" not in row]
            counts = [(row["estimated_fdr"][v], n) for row in rows for v, n in row["picks_per_view"].items()]
            rate = sum(r * n for r, n in counts) / max(1, sum(n for _, n in counts))
            weights = ", ".join(f"{value:.2f}" for value in run.get("learned", {}).get("weights", {}).values())
            numbers = " | ".join(f"{result[key]:.3f}" for key in ("precision", "recall", "f1"))
            print(
                f"| {name} | {score} | {numbers} | {rate:.3f} | {1 - result['precision']:.3f} | {weights} |", flush=True
            )
        if options.labels:
            f1 = with_labels(name, options.data, folder, options.labels, work)
            print(f"| {name} | {options.labels} labels | | | {f1:.3f} on the others | | | |", flush=True)
    if options.simulated:
        simulated()


if __name__ == "__main__":
    main()
