"""Is the estimated false discovery rate right? Estimated against true rate at `--threshold auto`.

python benchmarks/fdr.py [--micrographs 20] [--snr 0.5 0.004] [--size 2048] [--particles 120 ...] [--phases]
                         [--real DATA] [--quadrants DATA] [--only-real]

Simulated micrographs from easy to hard, their SNR log-spaced, with 0, 6 and 12 contaminants in turn; the templates of
the simulation. Picks and rates are pooled over both views. F1 at `auto` is compared with the best F1 that one threshold
for both views gives. Then the same micrographs as one run, in which they borrow from one another.

--phases   a second search with other decoys: templates of the same masks and spectra with random phases
--particles  on a micrograph of 2048 x 2048 pixels, several numbers in turn
--real     the folder of the real micrographs (klh, apoferritin), estimated and true rate there too
--quadrants  the same folder: the quadrants of the KLH micrographs, which hold 1 to 7 particles, alone and as one run,
           with 32 micrographs of noise of the same spectra
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import napari_gempick as gp
from napari_gempick.engine.picking.run_evidence import RunEvidence, Scores
from napari_gempick.evaluation.evaluate import entry_particles
from napari_gempick.evaluation.matching import Matching, Particles, Rules, match
from napari_gempick.evaluation.metrics import score_curve, summarise
from napari_gempick.io.coordinates import TRUTH_FILES, read_entries
from napari_gempick.simulation.settings import VIEWS, make_simulate_settings
from napari_gempick.simulation.simulate import simulate_micrograph, template

CONTAMINANTS = (0, 6, 12)


@dataclass
class Case:
    name: str
    image: np.ndarray
    templates: dict[str, np.ndarray]
    settings: gp.PickSettings
    truth: Particles
    rules: Rules


def simulated(count: int, snrs: tuple[float, float], size: int, particles: list[int]) -> Iterator[Case]:
    """From easy to hard."""
    rules = Rules(tolerance=30, edge=45, ignore_radius=60)
    for number, snr in enumerate(np.geomspace(*snrs, count)):
        contaminants = CONTAMINANTS[number % len(CONTAMINANTS)]
        given = make_simulate_settings(
            {
                "size": str(size),
                "particles": round(particles[number % len(particles)] * (size / 2048) ** 2),
                "snr": snr,
                "contaminants": contaminants,
                "carbon": False,
                "ignore_fraction": 0.03,
                "seed": number,
            }
        )
        made = simulate_micrograph(given, 0)
        settings = gp.PickSettings(
            pixel_size=given.pixel_size, mask=("side=rectangle:400x370", "top=circle:370"), lowpass=30, angle_step=6,
            threshold=("auto",), border=rules.edge * given.pixel_size,
        )  # fmt: skip
        x, y, view = ([getattr(p, name) for p in made.particles] for name in ("x", "y", "view"))
        stacks = {name: template(name, given) for name in VIEWS}
        name = f"{snr:.4f}, {contaminants}" + (f", {given.particles}" if len(particles) > 1 else "")
        yield Case(name, made.image, stacks, settings, Particles.at(x, y, view=view), rules)


def real(data: Path) -> Iterator[Case]:
    """KLH and apoferritin, with the averages in their folders."""
    klh = {name: gp.read_stack(data / f"klh/klh_{name}_average_4.4A.mrc").data for name in VIEWS}
    apoferritin = {"apoferritin": gp.read_stack(data / "apoferritin/apoferritin_average_1.5A.mrc").data}
    sets = (
        ("klh/klh_001.mrc", klh, 4.4, Rules(40, 110, 100), {"pixel_size": 2.2, "diameter": 400, "lowpass": 20}),
        ("klh/klh_002.mrc", klh, 4.4, Rules(40, 110, 100), {"pixel_size": 2.2, "diameter": 400, "lowpass": 20}),
        (
            "apoferritin/May08_03.13.02.tif",
            apoferritin,
            1.5,
            Rules(25, 70),
            {"pixel_size": 1.5, "diameter": 120, "lowpass": 10},
        ),
    )
    for name, stacks, spacing, rules, given in sets:
        path = data / name
        (entry,) = read_entries(path.with_name(f"{path.stem}_truth.csv"), TRUTH_FILES).entries
        settings = gp.PickSettings(
            template_pixel_size=spacing, angle_step=6, threshold=("auto",), border=rules.edge * given["pixel_size"],
            **given,
        )  # fmt: skip
        image = gp.read_micrograph(path, settings.pixel_size).data
        yield Case(path.stem, image, stacks, settings, entry_particles(entry), rules)


def quadrants(data: Path) -> Iterator[Case]:
    """The quadrants of both KLH micrographs, and their noise: the same spectra with random phases."""
    cases = [case for case in real(data) if case.name.startswith("klh")]
    parts = []
    for case in cases:
        for y0, x0 in ((0, 0), (0, 1024), (1024, 0), (1024, 1024)):
            kept = (case.truth.y // 1024 * 1024 == y0) & (case.truth.x // 1024 * 1024 == x0)
            truth = Particles.at(case.truth.x[kept] - x0, case.truth.y[kept] - y0, view=case.truth.view[kept])
            image = np.ascontiguousarray(case.image[y0 : y0 + 1024, x0 : x0 + 1024])
            settings = case.settings.model_copy(update={"border": 0.0})
            parts.append(replace(case, name=f"{case.name} {y0} {x0}", image=image, truth=truth, settings=settings))
    yield from parts
    for seed in range(4):
        for number, part in enumerate(parts):
            (noise,) = without_phases(part.image[None].astype(np.float32), 8 * seed + number)
            yield replace(part, name=f"noise {8 * seed + number}", image=noise, truth=Particles.at([], [], view=[]))


def without_phases(stack: np.ndarray, seed: int) -> np.ndarray:
    """Templates of the same power spectrum; the phases are those of white noise. Not for masks drawn from templates."""
    noise = np.fft.rfft2(np.random.default_rng(seed).standard_normal(stack.shape))
    return np.fft.irfft2(np.abs(np.fft.rfft2(stack)) * noise / np.abs(noise), s=stack.shape[-2:]).astype(np.float32)


def matched(case: Case, picks: gp.Picks) -> Matching:
    found = Particles.at(picks.x, picks.y, score=picks.score)
    return match(found, case.truth, case.rules, shape=case.image.shape)


def estimate(found: gp.Picked, thresholds: tuple[float, ...]) -> float:
    """The estimated rate of the picks of all views that reach their thresholds."""
    counts = [np.count_nonzero(rate.scores >= t) for rate, t in zip(found.rates, thresholds, strict=True)]
    false = sum(n * rate.at(t) for n, rate, t in zip(counts, found.rates, thresholds, strict=True))
    return false / max(1, sum(counts))


def numbers(values: tuple[float, ...]) -> str:
    return ", ".join("none" if value == np.inf else f"{value:.2f}" for value in values)


def of_each_view(picks: gp.Picks, case: Case) -> str:
    return ", ".join(f"{np.count_nonzero(picks.view == view):,}" for view in range(len(case.templates)))


def report(case: Case, phases: bool) -> tuple[gp.Picked, float]:
    """Print a row of the table; return what was found, and the estimated less the true rate."""
    found = gp.pick(case.image, case.templates, case.settings)
    row, off = described(case, found)
    if phases:
        other = {name: without_phases(stack, number) for number, (name, stack) in enumerate(case.templates.items())}
        second = gp.pick(case.image, other, case.settings)
        replaced = gp.repick(replace(found, decoys=second.candidates), case.settings)
        own = summarise([matched(case, replaced.picks)])
        row += [f"{estimate(replaced, found.thresholds):.3f}", numbers(replaced.thresholds), f"{own.f1:.3f}"]
        row += [of_each_view(found.decoys, case), of_each_view(replaced.decoys, case)]
    print("| " + " | ".join(row) + " |", flush=True)
    return found, off


def described(case: Case, found: gp.Picked) -> tuple[list[str], float]:
    everything = gp.repick(found, case.settings.model_copy(update={"threshold": ("0.1",)})).picks
    curve = score_curve([matched(case, everything)])
    summary = summarise([matched(case, found.picks)])
    estimated, true = estimate(found, found.thresholds), 1 - summary.precision if summary.picks else 0.0
    row = [case.name, numbers(found.thresholds), str(summary.picks), f"{estimated:.3f}", f"{true:.3f}"]
    return [*row, f"{summary.f1:.3f}", f"{curve.f1[curve.best]:.3f}" if len(curve.f1) else "-"], estimated - true


def report_run(cases: list[Case], alone: list[gp.Picked]) -> list[float]:
    """Print the table of the micrographs as one run; return estimated less true rates."""
    evidence = RunEvidence([scores(case, found) for case, found in zip(cases, alone, strict=True)])
    wrong, summaries = [], []
    for number, (case, found) in enumerate(zip(cases, alone, strict=True)):
        rates = tuple(evidence.rates(number))
        best = [rate.best_threshold() for rate in rates]
        chosen = tuple(f"{name}={1.0 if t is None else t}" for name, t in zip(case.templates, best, strict=True))
        picks = gp.repick(found, case.settings.model_copy(update={"threshold": chosen})).picks
        thresholds = tuple(np.inf if t is None else t for t in best)
        row, off = described(case, replace(found, picks=picks, rates=rates, thresholds=thresholds))
        print("| " + " | ".join(row) + " |", flush=True)
        wrong.append(off)
        summaries.append(matched(case, picks))
    total = summarise(summaries)
    false = total.picks - total.matched
    print(f"\nIn all: {total.recall_matched} of {total.recall_truth} found, {false} false, F1 {total.f1:.3f}")
    return wrong


def scores(case: Case, found: gp.Picked) -> Scores:
    everything = case.settings.model_copy(update={"threshold": ("-1",), "candidate_floor": -1.0})
    kinds = (found, replace(found, candidates=found.decoys, decoys=None))
    chosen = [gp.repick(kind, everything).picks for kind in kinds]
    return Scores(*(tuple(picks.score[picks.view == view] for view in range(len(case.templates))) for picks in chosen))


def head(name: str, phases: bool) -> None:
    columns = [name, "threshold", "picks", "estimated", "true", "F1", "best F1"]
    if phases:
        columns += ["estimated by random phases", "threshold by these", "F1 by these"]
        columns += ["decoys of each view, inverted", "random phases"]
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=20)
    parser.add_argument("--snr", type=float, nargs=2, default=(0.5, 0.004), help="of the first and the last")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--phases", action="store_true")
    parser.add_argument("--particles", type=int, nargs="+", default=[120])
    parser.add_argument("--real", type=Path)
    parser.add_argument("--quadrants", type=Path)
    parser.add_argument("--only-real", action="store_true")
    options = parser.parse_args()
    if options.real:
        head("micrograph", options.phases)
        for case in real(options.real):
            report(case, options.phases)
    if options.quadrants:
        measure("quadrant", list(quadrants(options.quadrants)), options.phases)
    if not options.only_real:
        made = simulated(options.micrographs, options.snr, options.size, options.particles)
        measure("SNR, contaminants" + ", particles" * (len(options.particles) > 1), list(made), options.phases)


def measure(name: str, cases: list[Case], phases: bool) -> None:
    """Print the tables of micrographs, each alone and all as one run."""
    head(name, phases)
    found = [report(case, phases) for case in cases]
    count_wrong([off for _, off in found])
    print("\nAs one run:")
    head(name, False)
    count_wrong(report_run(cases, [one for one, _ in found]))


def count_wrong(differences: list[float]) -> None:
    wrong = np.array(differences)
    print(
        f"\nOf {len(wrong)}: within 0.05 {(abs(wrong) <= 0.05).sum()}, too low by more {(wrong < -0.05).sum()}, "
        f"too high by more {(wrong > 0.05).sum()}, by over 0.15 {(wrong > 0.15).sum()}"
    )


if __name__ == "__main__":
    main()
