"""Real micrographs: KLH, both views, with the command and the rules that its truth states."""

import csv

import numpy as np
import pytest
from click.testing import CliRunner

from napari_gempick.cli import main
from napari_gempick.engine.picking.exclusion import find_exclusion
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.images.micrograph import read_micrograph

pytestmark = pytest.mark.realdata

TOLERANCE, EDGE, IGNORE_RADIUS = 40, 110, 100


def pick_klh(folder, out, *more, numbers=(1, 2)):
    micrographs = [str(folder / f"klh/klh_00{n}.mrc") for n in numbers]
    arguments = ["--templates", f"side={folder}/klh/klh_side_average_4.4A.mrc"]
    arguments += ["--templates", f"top={folder}/klh/klh_top_average_4.4A.mrc"]
    arguments += ["--mask", "side=rectangle:405x405", "--mask", "top=circle:370", "--angle-step", "6"]
    arguments += ["--threshold", "0.4", "--min-distance", "180", *more, "-o", str(out)]
    result = CliRunner().invoke(main, ["pick", *micrographs, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr


def score_klh(folder, out):
    """Matched, picked, true; right views; psi differences of side views modulo 90."""
    matched = picked = true = right = 0
    turns = []
    for name in ("klh_001", "klh_002"):
        with open(folder / f"klh/{name}_truth.csv", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        truth = np.array([(float(row["x"]), float(row["y"])) for row in rows])
        ignored = truth[[row["view"] == "ignore" for row in rows]]

        def counted(points, ignored=ignored):
            inside = ((points >= EDGE) & (points <= 2047 - EDGE)).all(axis=1)
            far = [np.hypot(*(ignored - point).T).min(initial=1e9) > IGNORE_RADIUS for point in points]
            return np.nonzero(inside & np.array(far))[0]

        picks = read_coordinates(out / f"{name}_autopick.star").picks
        points = np.column_stack([picks.x, picks.y])
        mine, theirs = counted(points), [i for i in counted(truth) if rows[i]["view"] != "ignore"]
        distance = np.hypot(*(points[mine][:, None] - truth[theirs][None]).transpose(2, 0, 1))
        used, taken = set(), set()
        for a, b in sorted(np.ndindex(*distance.shape), key=lambda pair, d=distance: d[pair]):
            if distance[a, b] > TOLERANCE or a in used or b in taken:
                continue
            used.add(a)
            taken.add(b)
            row, i = rows[theirs[b]], mine[a]
            right += row["view"] == ("side", "top")[picks.section[i]]
            if row["view"] == "side" and picks.section[i] == 0:
                turn = (picks.psi[i] + float(row["inplane_deg"])) % 90
                turns.append(min(turn, 90 - turn))
        matched, picked, true = matched + len(used), picked + len(mine), true + len(theirs)
    return 2 * matched / (picked + true), right / matched, np.array(turns)


def test_klh_both_views(real_data, tmp_path):
    pick_klh(real_data, tmp_path / "out", "--lowpass", "10")
    f1, right, turns = score_klh(real_data, tmp_path / "out")
    assert f1 >= 0.95 and right >= 0.95
    assert len(turns) >= 20 and np.mean(turns <= 9) >= 0.9


def test_klh_cropped_grid_finds_what_the_full_grid_finds(real_data, tmp_path):
    """Under the same low-pass and the same masks: the same picks, at the same positions between the coarse pixels.

    The side view is two-fold about a point beside its centre: where it is found upside down, with a score within 0.01,
    2.8 px lie between.
    """
    soft = ("--lowpass", "10", "--mask-edge", "10", "--angle-step", "12")
    pick_klh(real_data, tmp_path / "coarse", *soft, numbers=(1,))
    pick_klh(real_data, tmp_path / "full", *soft, "--grid", "full", numbers=(1,))
    both = [read_coordinates(tmp_path / which / "klh_001_autopick.star").picks for which in ("coarse", "full")]
    distance = np.hypot(both[0].x[:, None] - both[1].x, both[0].y[:, None] - both[1].y)
    turned = np.abs(np.abs(both[0].psi[:, None] - both[1].psi) - 180) <= 12
    twofold = turned & (np.abs(both[0].score[:, None] - both[1].score) < 0.01) & (distance <= 3)
    total = sum(distance.shape)
    found = sum(int(((distance <= 9 / 4) | twofold).any(axis=axis).sum()) for axis in (0, 1))
    close = sum(int((distance.min(axis=axis) <= 0.6).sum()) for axis in (0, 1))
    assert total > 40 and found >= 0.98 * total and close >= 0.85 * total


@pytest.mark.parametrize(
    ("name", "pixel", "diameter"),
    [
        ("betagal/Falcon_14_33_35_0.mrc", 1.77, 191),
        ("betagal/Falcon_15_14_01_0.mrc", 1.77, 191),
        ("klh/klh_002.mrc", 2.2, 400),
        ("apoferritin/May08_03.05.02.tif", 1.5, 120),
    ],
)
def test_exclusion_loses_no_particle(real_data, name, pixel, diameter):
    path = real_data / name
    excluded = find_exclusion(read_micrograph(path, pixel).data.astype(np.float32), diameter / pixel)
    with path.with_name(f"{path.stem}_truth.csv").open(encoding="utf-8") as file:
        truth = [row for row in csv.DictReader(file) if row.get("view") != "ignore"]
    assert not any(excluded[round(float(row["y"])), round(float(row["x"]))] for row in truth)
    if "14_33" in name:  # the inside of the carbon film in the corner
        assert excluded[3900:3980, 3500:3960].all() and excluded[3500:3700, 3850:3980].all()
