"""What the CTF and whitening do for picking: two tables, measured on simulated micrographs.

python benchmarks/accuracy.py [--micrographs 8] [--snr 0.006] [--defocus 1 2 3] [--size 1024]

Templates are projections of the particle's map: the top view, and side views at several spins. Each way of picking is
judged at its own best threshold, and by the area under its precision-recall curve (AUC); edge particles do not count.
"""

import argparse
import itertools
import sys

import numpy as np

import napari_gempick as gp
from napari_gempick.evaluation.matching import Particles, Rules, match
from napari_gempick.evaluation.metrics import score_curve
from napari_gempick.model.ctf import Ctf
from napari_gempick.simulation.scene import DIAMETER, LENGTH, klh
from napari_gempick.simulation.settings import make_simulate_settings
from napari_gempick.simulation.simulate import simulate_micrograph

PIXEL = 4.4
VIEWS = {"side": [(spin, 90) for spin in (0, 24, 48)], "top": [(0, 0)]}
MASKS = ("side=rectangle:410x370", "top=circle:370")


def templates():
    volume = klh().density(128, PIXEL)
    return {name: gp.project_map(volume, PIXEL, angles=angles).images for name, angles in VIEWS.items()}


def curve(made, stacks, ctf, lowpass, **more):
    """Matchings of each micrograph, all candidates taken as picks."""
    settings = gp.PickSettings(
        pixel_size=PIXEL, mask=MASKS, angle_step=8, lowpass=lowpass, threshold=("0.02",), min_distance=DIAMETER / 2,
        contrast="same" if ctf else "opposite", **more,
    )  # fmt: skip
    matchings = []
    for one in made:
        lens = Ctf(1e4 * one.defocus, 1e4 * one.defocus) if ctf else None
        picks = gp.pick(one.image, stacks, settings, ctf=lens).picks
        truth = Particles.at(
            [p.x for p in one.particles], [p.y for p in one.particles], view=[p.view for p in one.particles]
        )
        found = Particles.at(picks.x, picks.y, score=picks.score)
        matchings.append(match(found, truth, Rules(20, LENGTH / 2 / PIXEL, 40), shape=one.image.shape))
    curve = score_curve(matchings)
    recall, precision = np.append(0, curve.recall), np.append(1, curve.precision)
    order = np.argsort(recall, kind="stable")
    area = float(np.trapezoid(precision[order], recall[order]))
    best = int(np.nanargmax(curve.f1))
    return f"{curve.f1[best]:.3f} at {curve.threshold[best]:.2f}, AUC {area:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--micrographs", type=int, default=8)
    parser.add_argument("--snr", type=float, default=0.006)
    parser.add_argument("--structural-noise", type=float, default=0.1, help="share of the noise that the lens filters")
    parser.add_argument("--defocus", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--lowpass", type=float, default=15.0)
    options = parser.parse_args()
    stacks = templates()
    made = {}
    for defocus in options.defocus:
        settings = make_simulate_settings(
            {
                "size": str(options.size),
                "pixel_size": PIXEL,
                "particles": 24,
                "defocus": defocus,
                "defocus_spread": 0.1,
                "snr": options.snr,
                "structural_noise": options.structural_noise,
                "seed": round(100 * defocus),
            }
        )
        made[defocus] = [simulate_micrograph(settings, index) for index in range(options.micrographs)]
    cells = {}
    for whiten, defocus, ctf in itertools.product((False, True), options.defocus, (False, True)):
        found = cells[defocus, ctf, whiten] = curve(made[defocus], stacks, ctf, options.lowpass, whiten=whiten)
        what = f"{'CTF' if ctf else 'plain'}, {'whitened' if whiten else 'as it is'}"
        print(f"{defocus:g} µm, {what}: {found}", file=sys.stderr, flush=True)
    print("| defocus, µm | plain templates | CTF-multiplied |\n|---|---|---|")
    for defocus in options.defocus:
        print(f"| {defocus:g} | {cells[defocus, False, False]} | {cells[defocus, True, False]} |")
    print("\n| defocus, µm | templates | not whitened | whitened |\n|---|---|---|---|")
    for defocus, ctf in itertools.product(options.defocus, (False, True)):
        name = "CTF" if ctf else "plain"
        print(f"| {defocus:g} | {name} | {cells[defocus, ctf, False]} | {cells[defocus, ctf, True]} |")


if __name__ == "__main__":
    main()
