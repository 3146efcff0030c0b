"""`gempick evaluate` as a user calls it: what is paired, counted and said."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from evaluations import SHAPE, VIEWS, evaluate, evaluated, some_picks, write_run, write_truth
from napari_gempick.io.candidates import Candidates, write_candidates
from napari_gempick.io.formats import PicksInfo
from napari_gempick.io.formats.eman import write_boxes
from napari_gempick.io.formats.relion import write_autopick, write_autopick_index
from napari_gempick.io.formats.table import write_table


def test_a_folder_of_results(results, truth):
    found = evaluated(results, truth)
    assert (found["micrographs"], found["picks"], found["truth"], found["matched"]) == (2, 32, 30, 29)
    assert found["precision"] == 29 / 32 and found["recall"] == 29 / 30 and found["truth_path"] == str(truth)
    assert found["f1"] == pytest.approx(2 * 29 / (32 + 30))
    assert found["mean_distance"] == pytest.approx(5 * 19 / 29)
    assert found["rms_distance"] == pytest.approx(np.sqrt(25 * 19 / 29))
    (only,) = found["sets"]
    assert only["name"] == "out" and only["warnings"] == [] and only["notes"] == []
    assert {row["micrograph"]: row["picks"] for row in only["per_micrograph"]} == {"a": 20, "b": 12}
    assert only["per_micrograph"][1]["recall"] == 1


def test_lengths_in_angstrom_take_the_pixel_size_of_the_files(results, truth):
    in_px = evaluated(results, truth, "--edge", "30", "--ignore-radius", "5px", tolerance="4.9px")
    in_angstrom = evaluated(results, truth, "--edge", "60A", "--ignore-radius", "10Å", tolerance="9.8A")
    assert (in_px["tolerance_px"], in_px["edge_px"], in_px["ignore_radius_px"]) == (4.9, 30, 5)
    assert in_angstrom == in_px and in_px["matched"] == 10
    assert evaluated(results, truth, "--pixel-size", "1", tolerance="5.1A")["matched"] == 29
    assert evaluated(results, results, "--compare", tolerance="9.8A")["tolerance_px"] == 4.9


def test_lengths_in_angstrom_need_one_pixel_size(results, truth, places):
    result = evaluate(truth, truth, tolerance="80A")
    assert result.exit_code == 2
    assert "No file gives the pixel size, which lengths in Å need; give --pixel-size, or px." in result.stderr
    write_autopick(results / "b_autopick.star", some_picks(places), pixel_size=3.0)
    result = evaluate(results, truth, tolerance="80A")
    assert result.exit_code == 2
    assert "a_autopick.star has a pixel size of 2 Å" in result.stderr and "one of 3 Å; give" in result.stderr


def test_views_come_from_run_json_by_section(results, truth):
    found = evaluated(results, truth)
    assert found["right_view"] == 1
    side, top = found["sets"][0]["per_view"]
    assert (side["name"], side["truth"], side["truth_matched"], side["picks"]) == ("side", 29, 28, 31)
    assert (top["name"], top["truth"], top["picks"], top["precision"], top["recall"]) == ("top", 1, 1, 1, 1)


def test_angles_modulo_a_symmetry(results, truth):
    (side, _) = evaluated(results, truth, "--psi-modulo", "90")["sets"][0]["per_view"]
    whole, quarter = side["angles"]
    errors = np.array([10 * i for i in [*range(1, 19), *range(10)]])  # the picks' psi is 0
    assert (whole["period"], whole["pairs"], whole["median"]) == (360, 28, np.median(errors))
    assert whole["percentile_90"] == pytest.approx(np.percentile(errors, 90))
    assert quarter["period"] == 90
    assert quarter["median"] == np.median(np.minimum(errors % 90, 90 - errors % 90))


def test_views_come_from_the_candidates_where_there_is_no_run_json(results, truth, places):
    (results / "run.json").unlink()
    picks = replace(some_picks(places, [2, *[1] * 19]), view=np.array([1, *[0] * 19], np.int32))
    write_candidates(results / "candidates" / "a.star", Candidates(picks, VIEWS, SHAPE, SHAPE, 2.0, 2.0, 0.1))
    found = evaluated(results / "a_autopick.star", truth / "a_truth.csv", "--edge", "30")
    assert {view["name"]: view["picks"] for view in found["sets"][0]["per_view"]} == {"side": 9, "top": 1}
    assert found["picks"] == 19  # the wrong pick is 20 px from the edge that the candidate file tells
    candidates = evaluated(results / "candidates" / "a.star", truth, "--edge", "30")
    assert (candidates["precision"], candidates["recall"], candidates["right_view"]) == (1, 1, 1)


def test_the_index_of_relion(results, truth, monkeypatch):
    rows = [(f"/data/{name}.mrc", f"out/{name}_autopick.star") for name in "ab"]
    write_autopick_index(results / "autopick.star", rows)
    monkeypatch.chdir(truth)  # the list's paths start two folders up
    found = evaluated(results / "autopick.star", truth)
    assert found["sets"][0]["name"] == "out" and found["matched"] == 29 and found["right_view"] == 1
    (results / "b_autopick.star").unlink()
    result = evaluate(results / "autopick.star", truth)
    assert result.exit_code == 1 and "b_autopick.star, which does not exist; it was left out" in result.stderr
    (results / "a_autopick.star").unlink()
    result = evaluate(results / "autopick.star", truth)
    assert result.exit_code == 2 and "a_autopick.star, which does not exist; run from" in result.stderr


def test_one_file_of_each_kind(tmp_path, results, truth, places):
    write_boxes(tmp_path / "a.box", some_picks(places), PicksInfo(box_size=90))
    write_table(tmp_path / "a.csv", some_picks(places), PicksInfo(view_names=VIEWS))
    (tmp_path / "all.star").write_text(
        "data_particles\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"
        + "".join(f"mics/{name}.mrc {x} {y}\n" for name in "abc" for x, y in places)
    )
    assert evaluated(tmp_path / "a.box", truth)["recall"] == 1
    assert evaluated(tmp_path / "a.csv", truth / "a_truth.csv")["precision"] == 1
    assert evaluated(results / "a_autopick.star", truth)["truth"] == 20
    found = evaluated(tmp_path / "all.star", truth)
    assert (found["micrographs"], found["picks"], found["matched"]) == (2, 40, 30)
    assert found["sets"][0]["notes"] == ["Not counted, because there is no truth: picks of mics/c."]


def test_what_has_no_partner_is_said(results, truth, places):
    write_truth(truth / "c_truth.csv", places)
    (truth / "b_truth.csv").unlink()
    result = evaluate(results, truth, "--json")
    found = json.loads(result.stdout)
    assert (found["picks"], found["truth"], found["micrographs"]) == (20, 40, 2)
    assert "Not counted, because there is no truth: picks of b." in result.stderr
    assert "Counted as nothing found, because there are no picks: c." in result.stderr
    assert evaluated(results / "a_autopick.star", truth)["truth"] == 20


def test_nothing_fits(results, truth):
    result = evaluate(results / "a_autopick.star", truth / "b_truth.csv")
    assert result.exit_code == 2 and result.stdout == ""
    assert "a_autopick.star has picks of a, but the truth is of b" in result.stderr


def test_equal_names_in_other_folders(tmp_path, places):
    for folder, count in (("grid1", 20), ("grid2", 5)):
        write_autopick(tmp_path / "out" / folder / "mic_autopick.star", some_picks(places[:count]), pixel_size=2.0)
        write_truth(tmp_path / "truth" / folder / "mic.csv", places[:count])
    found = evaluated(tmp_path / "out", tmp_path / "truth")
    assert (found["precision"], found["recall"], found["micrographs"]) == (1, 1, 2)
    assert [row["micrograph"] for row in found["sets"][0]["per_micrograph"]] == ["grid1/mic", "grid2/mic"]
    single = evaluated(tmp_path / "out" / "grid2" / "mic_autopick.star", tmp_path / "truth")
    assert (single["truth"], single["matched"]) == (5, 5)
    assert evaluated(tmp_path / "out" / "grid1", tmp_path / "truth")["sets"][0]["per_micrograph"][0]["picks"] == 20
    flat = write_truth(tmp_path / "flat" / "mic_truth.csv", places)
    result = evaluate(tmp_path / "out", flat)
    assert result.exit_code == 2 and "fits" in result.stderr and "as well as" in result.stderr


def test_edge_and_ignore_radius(tmp_path, places):
    marks = [[400.0, 40.0], [650.0, 500.0]]
    views = ["side"] * 20 + ["ignore"] * 2
    near = int((np.hypot(*(places - marks[1]).T) <= 150).sum())
    inner = int(((places >= 120) & (places <= np.array(SHAPE[::-1]) - 1 - 120)).all(axis=1).sum())
    truth = write_truth(tmp_path / "a_truth.csv", np.concatenate((places, marks)), view=views)
    picks = tmp_path / "a.csv"
    write_table(picks, some_picks(np.concatenate((places, marks))), PicksInfo())
    assert evaluated(picks, truth)["precision"] == 1  # the tolerance is the radius by default
    assert evaluated(picks, truth, "--ignore-radius", "0.5")["precision"] == 1
    assert evaluated(picks, truth, "--ignore-radius", "150")["truth"] == 20 - near < 20
    result = evaluate(picks, truth, "--edge", "120")
    assert result.exit_code == 2 and "give --shape NY,NX" in result.stderr
    found = evaluated(picks, truth, "--edge", "120", "--shape", f"{SHAPE[0]},{SHAPE[1]}")
    assert (found["truth"], found["picks"]) == (inner, inner)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SHAPE, np.uint8))
    assert evaluated(picks, truth, "--edge", "120")["truth"] == inner


def test_recall_on_a_column(results, truth):
    found = evaluated(results, truth, "--recall-on", "source=one")
    assert (found["recall_truth"], found["recall_matched"], found["recall"]) == (5, 5, 1)
    assert found["precision"] == 29 / 32 and found["truth"] == 30
    assert found["f1"] == pytest.approx(2 * 29 / 32 / (29 / 32 + 1))
    for wrong, words in (("kind=one", "has no column kind"), ("source=three", "one, two"), ("source", "COLUMN=VALUE")):
        result = evaluate(results, truth, "--recall-on", wrong)
        assert result.exit_code == 2 and words in result.stderr


def test_a_flip_is_noticed(tmp_path, truth, places):
    flipped = places.copy()
    flipped[:, 1] = SHAPE[0] - 1 - places[:, 1]
    write_table(tmp_path / "a.csv", some_picks(flipped), PicksInfo())
    result = evaluate(tmp_path / "a.csv", truth, "--shape", "1000,1400", "--json")
    (warning,) = json.loads(result.stdout)["sets"][0]["warnings"]
    assert "flipped in y" in warning and "20 picks match instead of" in warning
    assert warning in result.stderr
    write_table(tmp_path / "a.csv", some_picks(places[:, ::-1]), PicksInfo())
    assert "x and y exchanged" in evaluate(tmp_path / "a.csv", truth).stderr


def test_a_run_json_of_another_program_is_left_alone(tmp_path, results, truth):
    (tmp_path / "run.json").write_text('{"views": 3}')
    (results / "run.json").unlink()
    assert evaluated(results, truth)["right_view"] is None
    write_run(results, ["a", "b"])
    (results / "run.json").write_text((results / "run.json").read_text().replace('"sections": 2', '"sections": "two"'))
    refused = evaluate(results, truth)
    assert refused.exit_code == 2 and "run.json: views.0.sections" in refused.stderr


def test_views_of_other_names(tmp_path, truth, places):
    write_table(tmp_path / "a.csv", some_picks(places), PicksInfo(view_names=("average",)))
    found = evaluated(tmp_path / "a.csv", truth)
    assert found["right_view"] is None
    assert found["sets"][0]["notes"] == ["Views are not compared: the picks have average, the truth has side, top."]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("out",), "the last argument, the truth"),
        (("nowhere", "truth"), "nowhere"),
        (("out", "nowhere.csv"), "nowhere.csv does not exist"),
        (("truth", "empty"), "empty holds no coordinate files"),
        (("out", "truth", "--shape", "100"), "NY,NX"),
        (("out", "truth", "--edge", "nan"), "'nan': write a number in px"),
        (("out", "bad/a_truth.csv"), "row 1 has an impossible position"),
    ],
)
def test_errors_are_sentences(tmp_path, results, truth, monkeypatch, arguments, words):
    (tmp_path / "empty").mkdir()
    write_truth(tmp_path / "bad" / "a_truth.csv", [("", 3)])
    monkeypatch.chdir(tmp_path)
    result = evaluate(*arguments)
    assert result.exit_code == 2 and words in result.stderr and "Traceback" not in result.stderr


@pytest.mark.realdata
def test_real_truth_against_itself(real_data, tmp_path):
    klh = evaluated(real_data / "klh", real_data / "klh", "--edge", 110, "--ignore-radius", 100, tolerance=40)
    assert (klh["precision"], klh["recall"], klh["right_view"], klh["truth"]) == (1, 1, 1, 42)
    for path in (real_data / "betagal").glob("*_truth.csv"):  # what other pickers found lies beside it
        shutil.copy(path, tmp_path)
    betagal = evaluated(tmp_path, tmp_path, "--recall-on", "source=both", tolerance=45)
    assert (betagal["truth"], betagal["recall_truth"]) == (1411, 1042)


def test_views_of_a_truth_without_views_are_not_counted_as_missing(tmp_path, results, places):
    write_truth(tmp_path / "plain" / "a_truth.csv", places)
    found = evaluated(results, tmp_path / "plain")
    for view in found["sets"][0]["per_view"]:
        assert view["truth"] is None and view["truth_matched"] is None and view["recall"] is None
        assert view["picks"] > 0 and view["precision"] is not None


def test_a_set_has_the_name_of_its_folder_or_file(tmp_path, results, truth):
    results.rename(tmp_path / "my_picks")
    assert evaluated(tmp_path / "my_picks", truth)["sets"][0]["name"] == "my_picks"
    one = evaluated(tmp_path / "my_picks" / "a_autopick.star", truth)
    assert one["sets"][0]["name"] == "a_autopick"
