"""What `gempick evaluate` writes: tables, curves, and sets of picks against each other."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from evaluations import VIEWS, evaluate, evaluated, some_picks
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import PicksInfo
from napari_gempick.io.formats.eman import write_boxes
from napari_gempick.io.formats.relion import write_autopick
from napari_gempick.io.formats.table import write_table
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = {"evaluation.json", "matches.csv", "pr.csv", "roc.csv", "pr.png", "roc.png"}


def test_several_sets_and_all_files(tmp_path, results, truth, places):
    write_table(tmp_path / "other" / "a.csv", some_picks(places[:8]), PicksInfo())
    arguments = (results, f"hand={tmp_path / 'other'}", truth, "-o", tmp_path / "report")
    result = evaluate(*arguments)
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in (tmp_path / "report").iterdir()} == OUTPUTS
    table = result.stdout.splitlines()
    assert table[2].split()[:3] == ["set", "micrographs", "picks"]
    assert [line.split()[0] for line in table[3:5]] == ["out", "hand"]
    written = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert [one["name"] for one in written["sets"]] == ["out", "hand"]
    assert "precision" not in written and written["sets"][1]["precision"] == 1
    assert evaluate(*arguments).exit_code == 2
    assert "and 5 more already exist; add --overwrite" in evaluate(*arguments).stderr
    first = {name: (tmp_path / "report" / name).read_bytes() for name in OUTPUTS}
    assert evaluate(*arguments, "--overwrite").exit_code == 0
    assert {name: (tmp_path / "report" / name).read_bytes() for name in OUTPUTS} == first
    assert evaluate(results, results, truth).exit_code == 0
    assert "give NAME=PATH" in evaluate(results, results, results, truth).stderr


def test_tables_of_matches_and_curves(tmp_path, results, truth, places):
    assert evaluate(results, truth, "-o", tmp_path / "report", "--edge", "30").exit_code == 0

    def rows(name):
        with (tmp_path / "report" / name).open(newline="") as stream:
            return list(csv.DictReader(stream))

    matches = rows("matches.csv")
    columns = "micrograph x y score view psi matched distance truth_x truth_y truth_view"
    assert list(matches[0])[:11] == columns.split()
    assert len(matches) == 32
    first = matches[0]
    assert (first["micrograph"], first["matched"], first["view"], first["truth_view"]) == ("a", "1", "top", "top")
    assert float(first["distance"]) == 5 and float(first["truth_x"]) == places[0, 0]
    assert sum(int(row["matched"]) for row in matches) == 29
    assert sum(row["counted"] == "0" for row in matches) == 2  # both wrong picks at y = 20
    assert matches[19]["distance"] == matches[19]["truth_x"] == ""
    curve = rows("pr.csv")
    thresholds = [float(row["threshold"]) for row in curve]
    assert thresholds == sorted(set(thresholds), reverse=True)
    assert float(curve[-1]["precision"]) == pytest.approx(29 / 30)
    assert float(curve[-1]["recall"]) == pytest.approx(29 / 30)
    froc = rows("roc.csv")
    assert float(froc[-1]["false_per_micrograph"]) == 0.5
    assert float(froc[-1]["false_positive_rate"]) == pytest.approx(1 / 30)


def test_picks_without_scores(tmp_path, truth, places):
    write_boxes(tmp_path / "a.box", some_picks(places[:10]), PicksInfo(box_size=90))
    assert evaluate(tmp_path / "a.box", truth, "-o", tmp_path / "report").exit_code == 0
    lines = (tmp_path / "report" / "pr.csv").read_text().splitlines()
    assert len(lines) == 2 and lines[1].startswith("a,,1,0.5,")
    found = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert found["best_threshold"] is None and found["best_f1"] == pytest.approx(2 / 3)


def test_no_picks_at_all(tmp_path, truth):
    write_autopick(tmp_path / "out" / "a_autopick.star", Picks.empty(), pixel_size=2.0)
    found = evaluated(tmp_path / "out", truth, "-o", tmp_path / "report")
    assert (found["precision"], found["recall"], found["f1"]) == (None, 0, 0)
    assert (tmp_path / "report" / "pr.png").stat().st_size > 1000


def test_a_report_among_the_truth_is_no_truth(truth, results):
    for name in "ab":
        (truth / f"{name}_truth.csv").rename(truth / f"{name}.csv")
    assert evaluate(results, truth, "-o", truth / "report").exit_code == 0
    assert evaluated(results, truth)["sets"][0]["notes"] == []


@pytest.fixture
def three(tmp_path, places) -> Path:
    """Sets one, two and three of the same micrograph: 20, 15 (shifted by 3 px, 2 of its own) and 10 picks."""
    write_table(tmp_path / "one" / "a.csv", some_picks(places), PicksInfo(view_names=VIEWS))
    own = np.array([[700.0, 20.0], [720.0, 950.0]])
    write_table(
        tmp_path / "two" / "a.csv",
        some_picks(np.concatenate((places[5:] + np.array([3, 0]), own))),
        PicksInfo(view_names=VIEWS),
    )
    write_table(tmp_path / "three_picks" / "a.csv", some_picks(places[10:]), PicksInfo(view_names=VIEWS))
    write_table(tmp_path / "three_picks" / "b.csv", some_picks(places[:4]), PicksInfo(view_names=VIEWS))
    return tmp_path


def test_sets_against_each_other(three, places):
    found = evaluated(*(three / name for name in ("one", "two", "three_picks")), "--compare", "--export", three / "out")
    assert found["picks"] == {"one": 20, "two": 17, "three_picks": 14} and found["micrographs"] == 2
    pairs = {(pair["a"], pair["b"]): pair for pair in found["pairs"]}
    both = pairs["one", "two"]
    assert (both["matched"], both["only_a"], both["only_b"], both["mean_distance"]) == (15, 5, 2, 3)
    assert both["per_view"] == [{"view": "side", "matched_a": 15, "matched_b": 15, "only_a": 5, "only_b": 2}]
    assert pairs["two", "three_picks"]["only_b"] == 4
    assert (found["in_all"], found["alone"]) == (10, {"one": 5, "two": 2, "three_picks": 4})
    consensus = read_coordinates(three / "out" / "consensus" / "a_autopick.star").picks
    np.testing.assert_array_equal(consensus.x, places[10:, 0])
    only = read_coordinates(three / "out" / "only_two" / "a_autopick.star").picks
    assert (only.x.tolist(), only.y.tolist()) == ([700, 720], [20, 950])
    assert len(read_coordinates(three / "out" / "only_three_picks" / "b_autopick.star").picks) == 4
    shown = evaluate(three / "one", three / "two", "--compare").stdout.splitlines()
    assert shown[3].split() == ["one", "two", "15", "5", "2", "3.00"]
    again = evaluate(three / "one", three / "two", "--compare", "--export", three / "out")
    assert again.exit_code == 2 and "exist" in again.stderr
    write_table(three / "four" / "z.csv", some_picks(places), PicksInfo(view_names=VIEWS))
    assert "no micrograph in common" in evaluate(three / "one", three / "four", "--compare").stderr


def test_what_picks_and_truth_have_alone_can_be_exported(results, truth, tmp_path):
    arguments = ("--export", tmp_path / "sets", "--export-format", "csv")
    assert evaluated(results, truth, *arguments)["matched"] == 29
    counts = {}
    for name in ("consensus", "only_out", "only_truth"):
        parts = [read_coordinates(tmp_path / "sets" / name / f"{stem}.csv") for stem in "ab"]
        counts[name] = sum(len(part.picks) for part in parts)
    assert counts == {"consensus": 29, "only_out": 3, "only_truth": 1}
    assert read_coordinates(tmp_path / "sets" / "only_truth" / "a.csv").view_names == ("side",)
