"""Real micrographs picked with templates that the program makes itself: averages of clicks, projections of a map."""

import csv
import json

import pytest
from click.testing import CliRunner

from napari_gempick.cli import main
from test_real_data import score_klh

pytestmark = pytest.mark.realdata


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def clicks(folder, view, out):
    """Five particles of a view from each micrograph, whole boxes only."""
    out.mkdir()
    for name in ("klh_001", "klh_002"):
        with open(folder / f"klh/{name}_truth.csv", encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines) if row["view"] == view]
        inside = [row for row in rows if all(150 < float(row[axis]) < 1898 for axis in "xy")]
        (out / f"{name}.csv").write_text("x,y\n" + "".join(f"{row['x']},{row['y']}\n" for row in inside[:5]))
    return out


def test_klh_from_ten_clicks_of_each_view(real_data, tmp_path):
    micrographs = [real_data / f"klh/klh_00{n}.mrc" for n in (1, 2)]
    for view in ("side", "top"):
        picks = clicks(real_data, view, tmp_path / f"clicks_{view}")
        run("templates", "average", *micrographs, picks, "-o", tmp_path / f"{view}.mrc", "--diameter", 400)
    templates = [f"{view}={tmp_path}/{view}.mrc" for view in ("side", "top")]
    masks = [f"{view}={tmp_path}/{view}_mask.mrc" for view in ("side", "top")]
    run(
        "pick", *micrographs, "--templates", *templates, "--mask", *masks, "--angle-step", 9, "--threshold", 0.4,
        "--min-distance", 180, "--lowpass", 15, "-o", tmp_path / "out",
    )  # fmt: skip
    f1, right, turns = score_klh(real_data, tmp_path / "out")
    assert f1 >= 0.95 and right >= 0.95
    assert len(turns) >= 20


def test_apoferritin_from_projections_of_a_map(real_data, tmp_path):
    made = tmp_path / "apo.mrcs"
    run("templates", "project", real_data / "apoferritin/apoferritin_map_3.0A.mrc", "-o", made, "--symmetry", "O",
        "--pixel-size", 1.5)  # fmt: skip
    name = "May08_03.13.02"
    run(
        "pick", real_data / f"apoferritin/{name}.tif", "--templates", made, "--contrast", "opposite",
        "--pixel-size", 1.5, "--angle-step", 15, "--lowpass", 20, "--threshold", 0.3, "-o", tmp_path / "out",
    )  # fmt: skip
    truth = real_data / f"apoferritin/{name}_truth.csv"
    picks = tmp_path / f"out/{name}_autopick.star"
    report = json.loads(run("evaluate", picks, truth, "--tolerance", 25, "--edge", 70, "--json"))
    assert report["best_f1"] >= 0.95
