"""How far the picks of a coarser grid are from planted positions and angles, beside those of the full grid.

    python benchmarks/pose.py

Particles are sums of Gaussians, drawn exactly at positions between pixels and at any angle, in white noise. Each case
is searched on one thread, with `grid` full, auto without what follows the search (`searched`), auto, and a grid of 24
map pixels across the mask. Particles found at an angle that is off by more than 45 degrees are counted, and left out of
the root mean squares. Distances are in pixels of the file; times are CPU time, of the whole pick with its
preparation and of the refinement of poses.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np

import napari_gempick as gp
from napari_gempick.engine.matching.pose import PoseRefiner
from napari_gempick.engine.picking.peaks import find_candidates

PIXEL = 2.0
REFINING = [0.0]


@dataclass(frozen=True)
class Case:
    """One particle, seen in one way; lengths in Å, `apart` in mask diameters."""

    lowpass: float
    mask: float
    noise: float
    step: float | None
    size: int = 1536
    apart: float = 2.0


CASES = (Case(40, 140, 2.5, 4.0), Case(16, 50, 0.8, 4.0), Case(40, 140, 2.5, None), Case(16, 50, 0.8, None))


def particle(seed: int, radius: float, shape: tuple[int, int], at: tuple[float, float], psi: float) -> np.ndarray:
    """A lopsided particle of unit contrast, (h, w), psi in degrees counter-clockwise on screen; lengths in pixels."""
    rng = np.random.default_rng(seed)
    angle, away = rng.uniform(0, 2 * np.pi, 14), radius * 0.75 * np.sqrt(rng.uniform(0, 1, 14))
    width, weight = radius * rng.uniform(0.1, 0.25, 14), rng.uniform(0.4, 1, 14)
    turned = angle + np.deg2rad(psi)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = np.zeros(shape)
    for t, r, w, a in zip(turned, away, width, weight, strict=True):
        image += a * np.exp(-((y - at[0] + r * np.sin(t)) ** 2 + (x - at[1] - r * np.cos(t)) ** 2) / (2 * w * w))
    return image


def scene(case: Case, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a micrograph, its template and the truth: rows of y, x, psi."""
    rng = np.random.default_rng(seed)
    across = case.mask / PIXEL
    box = 2 * int(0.75 * across) + 1
    template = particle(7, across / 2, (box, box), (box // 2, box // 2), 0)
    image = case.noise * rng.standard_normal((case.size, case.size))
    spacing = case.apart * across
    count = int((case.size - 2 * across) / spacing)
    truth = []
    for i in range(count):
        for j in range(count):
            at = across + spacing * (np.array([i, j]) + 0.5) + rng.uniform(-0.2, 0.2, 2) * across
            psi = rng.uniform(0, 360)
            corner = np.floor(at).astype(int) - box // 2
            here = particle(7, across / 2, (box, box), tuple(at - corner), psi)
            image[corner[0] : corner[0] + box, corner[1] : corner[1] + box] += here
            truth.append((*at, psi))
    return image.astype(np.float32), template.astype(np.float32), np.array(truth)


class Errors:
    """Collects the errors of the candidates nearest to planted particles."""

    def __init__(self, reach: float) -> None:
        self._reach = reach
        self.away, self.turned, self.score, self.missed = [], [], [], 0

    def add(self, picks: gp.Picks, truth: np.ndarray) -> None:
        score = picks.score if picks.refined_score is None else picks.refined_score
        for y, x, psi in truth:
            distance = np.hypot(picks.y - y, picks.x - x)
            best = int(np.argmin(distance))
            if distance[best] > self._reach:
                self.missed += 1
                continue
            self.away.append(distance[best])
            self.turned.append(abs((picks.psi[best] - psi + 180) % 360 - 180))
            self.score.append(float(score[best]))

    def row(self) -> str:
        right = np.array(self.turned) < 45
        position, psi = (np.sqrt(np.mean(np.square(np.array(some)[right]))) for some in (self.away, self.turned))
        return (
            f"{len(right)} | {self.missed} | {(~right).sum()} | {position:.2f} | {psi:.1f} | {np.mean(self.score):.3f}"
        )


def measure(case: Case, seeds: int) -> None:
    """Print the rows of a case."""
    grids = {"full": "full", "auto": "auto", "24 px": f"{case.mask / PIXEL / 24:.4g}"}
    grids = {name: grid for name, grid in grids.items() if name != "24 px" or float(grid) >= 1}
    errors = {name: Errors(0.15 * case.mask / PIXEL) for name in ("full", "searched", "auto", "24 px")}
    times = {name: np.zeros(2) for name in errors}
    for seed in range(seeds):
        image, template, truth = scene(case, seed)
        for name, grid in grids.items():
            values = {} if case.step is None else {"angle_step": case.step}
            mask = (f"circle:{case.mask:g}",)
            values |= {"pixel_size": PIXEL, "lowpass": case.lowpass, "mask": mask, "grid": grid, "threads": 1}
            settings = gp.PickSettings(**values, threshold=("auto",))
            REFINING[0], started = 0.0, time.process_time()
            found = gp.pick(image, {"particle": template}, settings)
            times[name] += time.process_time() - started, REFINING[0]
            errors[name].add(found.candidates if len(found.picks) < len(truth) else found.picks, truth)
            if name == "auto":
                errors["searched"].add(find_candidates(found.scores, 0.1), truth)
    step = "auto" if case.step is None else f"{case.step:g}"
    for name, some in errors.items():
        if some.away:
            whole, refining = times[name] / seeds
            spent = f"{whole:.2f} | {1000 * refining:.0f}" if name in grids else "| "
            print(f"| {case.lowpass:g} | {case.mask:g} | {step} | {name} | {some.row()} | {spent} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--micrographs", type=int, default=2)
    seeds = parser.parse_args().micrographs
    refine = PoseRefiner.__call__

    def timed(*arguments: object) -> object:
        started = time.process_time()
        found = refine(*arguments)
        REFINING[0] += time.process_time() - started
        return found

    PoseRefiner.__call__ = timed
    print("| low-pass | mask | step | grid | found | missed | off by > 45 | position rms | psi rms | score | s | ms |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        measure(case, seeds)


if __name__ == "__main__":
    main()
