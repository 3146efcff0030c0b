"""How far the picks of a coarser grid are from planted positions and angles, beside those of the full grid.

    python benchmarks/pose.py

Particles are sums of Gaussians, drawn exactly at positions between pixels and at any angle, in white noise. Each case
is searched twice, with `grid` full and auto. Both must find the same particles; distances are in pixels of the file.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np

import napari_gempick as gp

PIXEL = 2.0


@dataclass(frozen=True)
class Case:
    """One particle, seen in one way."""

    lowpass: float
    mask: float
    noise: float
    step: float | None
    size: int = 1024
    apart: float = 2.0


CASES = (
    Case(40, 140, 4.0, 4.0),
    Case(16, 50, 0.8, 4.0),
    Case(40, 140, 4.0, None),
    Case(16, 50, 0.8, None),
)


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


def measure(case: Case, grid: str, seeds: int) -> dict[str, float]:
    """Return the errors of one case on one grid over some micrographs."""
    away, turned, score, seconds, missed, wrong = [], [], [], [], 0, 0
    for seed in range(seeds):
        image, template, truth = scene(case, seed)
        settings = gp.PickSettings(
            pixel_size=PIXEL,
            lowpass=case.lowpass,
            mask=(f"circle:{case.mask:g}",),
            grid=grid,
            threshold=("auto",),
            **({} if case.step is None else {"angle_step": case.step}),
        )
        started = time.perf_counter()
        found = gp.pick(image, {"particle": template}, settings)
        seconds.append(time.perf_counter() - started)
        picks = found.picks
        for y, x, psi in truth:
            distance = np.hypot(picks.y - y, picks.x - x)
            if not len(picks) or distance.min() > 0.15 * case.mask / PIXEL:
                missed += 1
                continue
            best = int(np.argmin(distance))
            off = abs((picks.psi[best] - psi + 180) % 360 - 180)
            away.append(distance[best])
            wrong += off > 45
            if off <= 45:
                turned.append(off)
            score.append(float(picks.score[best]))
    return {
        "found": len(away),
        "missed": missed,
        "position": float(np.sqrt(np.mean(np.square(away)))),
        "psi": float(np.sqrt(np.mean(np.square(turned)))),
        "flipped": wrong / max(1, len(away)),
        "score": float(np.mean(score)),
        "seconds": float(np.median(seconds)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--micrographs", type=int, default=2)
    seeds = parser.parse_args().micrographs
    print("| low-pass (Å) | mask (Å) | step | grid | found | missed | position rms (px) | psi rms | >45 | score | s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        for grid in ("full", "auto"):
            r = measure(case, grid, seeds)
            step = "auto" if case.step is None else f"{case.step:g}"
            print(
                f"| {case.lowpass:g} | {case.mask:g} | {step} | {grid} | {r['found']} | {r['missed']} | "
                f"{r['position']:.2f} | {r['psi']:.2f} | {100 * r['flipped']:.1f} % | {r['score']:.3f} | "
                f"{r['seconds']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
