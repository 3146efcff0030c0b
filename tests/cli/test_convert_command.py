"""`gempick convert` as a user calls it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import napari_gempick.workflows.convert
from helpers import picks_at
from napari_gempick.cli import main
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.relion import read_autopick_index, write_autopick, write_autopick_index
from napari_gempick.io.formats.table import write_table
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.picks import Picks

SHAPE = (300, 400)
NAMES = ("grid 1/mic", "grid2/mic", "grid2/other")


def convert(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["convert", *map(str, arguments)])


def converted(*arguments: object, status: int = 0) -> dict:
    result = convert(*arguments, "--json")
    assert result.exit_code == status, result.stderr
    return json.loads(result.stdout)


def refused(*arguments: object) -> str:
    result = convert(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    return result.stderr


def some_picks(n: int = 5, seed: int = 0) -> Picks:
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, SHAPE[1] - 1, n), random.uniform(0, SHAPE[0] - 1, n)
    section, score = random.integers(0, 4, n), random.uniform(0.2, 1, n)
    return picks_at(x, y, score=score, k=-1, section=section, psi=random.uniform(0, 360, n))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Picks of three micrographs, two of the same name, and the micrographs; the current folder."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        write_autopick(f"picks/{name}_autopick.star", some_picks(5, number), box_size=64, pixel_size=1.5)
        write_mrc(f"mics/{name}.mrc", np.zeros(SHAPE, np.float32), 1.5)
    return tmp_path


def assert_same(found: Picks, was: Picks, atol: float = 6e-4) -> None:
    np.testing.assert_allclose(found.x, was.x, atol=atol)
    np.testing.assert_allclose(found.y, was.y, atol=atol)


@pytest.mark.parametrize("to", FORMATS)
def test_there_and_back(work: Path, to: str) -> None:
    """From a folder through every format to a folder, with names, folders and whatever the format can hold."""
    there = converted("picks", "there", "--to", to, "--micrographs", "mics")
    assert (there["picks_in"], there["picks_out"], there["micrographs"], there["outside"]) == (15, 15, 3, 0)
    assert (there["unmatched"], there["failed"]) == ([], [])
    assert all(Path(file).is_file() for file in there["files"])
    back = converted("there", "back", "--to", "star", "--from", to, "--micrographs", "mics", "--box", "64")
    assert (back["picks_out"], back["micrographs"]) == (15, 3)
    for number, name in enumerate(NAMES):
        was, found = some_picks(5, number), read_coordinates(f"back/{name}_autopick.star")
        assert_same(found.picks, was, 0.51 if "position" in FORMATS[to].loses else 2e-3)
        if "psi" not in FORMATS[to].loses:
            np.testing.assert_allclose((found.picks.psi - was.psi + 180) % 360 - 180, 0, atol=2e-3)
            np.testing.assert_array_equal(found.picks.section, was.section)
        if "score" not in FORMATS[to].loses:
            np.testing.assert_array_equal(found.picks.score, was.score)
    assert [row[0] for row in read_autopick_index("back/autopick.star")] == [f"mics/{name}.mrc" for name in NAMES]
    assert set(there["loses"]) <= set(FORMATS[to].loses.values())


def test_relion_lists_keep_micrographs_and_folders(work: Path) -> None:
    converted("picks", "out", "--to", "star", "--micrographs", "mics")
    rows = read_autopick_index("out/autopick.star")
    assert rows == [(f"mics/{name}.mrc", f"out/{name}_autopick.star") for name in NAMES]
    again = converted("out/autopick.star", "boxes", "--to", "box")
    assert sorted(again["files"]) == [f"boxes/{name}.box" for name in NAMES]


def test_without_micrographs_the_suffix_is_a_guess_and_said(work: Path) -> None:
    report = converted("picks", "out", "--to", "star")
    assert "called grid 1/mic.mrc, grid2/mic.mrc, grid2/other.mrc: give --micrographs" in report["notes"][0]
    assert read_autopick_index("out/autopick.star")[0][0] == "grid 1/mic.mrc"
    assert converted("picks", "boxes", "--to", "box")["notes"] == []


def test_one_file(work: Path) -> None:
    report = converted("picks/grid 1/mic_autopick.star", "mic.box", "--to", "box")
    assert report["files"] == ["mic.box"]
    assert converted("mic.box", "mic.star", "--to", "star")["files"] == ["mic.star"]
    assert converted("mic.box", "folder", "--to", "eman2")["files"] == ["folder/info/mic_info.json"]
    assert "can hold one micrograph in the format box, and there are 3; name a folder" in refused(
        "picks", "all.box", "--to", "box"
    )


def test_what_is_lost_is_said_once(work: Path) -> None:
    result = convert("picks", "out", "--to", "box")
    assert sorted(result.stderr.splitlines()) == [
        "EMAN1 .box has no place for angles (psi).",
        "EMAN1 .box has no place for classes.",
        "EMAN1 .box has no place for scores.",
        "EMAN1 .box has whole numbers: positions are rounded to pixels.",
    ]
    assert result.stdout.splitlines()[0] == "15 picks read, 15 written for 3 micrographs as box: out"
    assert convert("out", "again", "--to", "box").stderr == ""


def test_nothing_is_replaced_unasked(work: Path) -> None:
    converted("picks", "out", "--to", "box")
    before = Path("out/grid2/mic.box").read_bytes()
    assert "out/grid 1/mic.box and 2 more already exist; add --overwrite" in refused(
        "picks", "out", "--to", "box", "--flip-y", "--shape", "300,400"
    )
    assert Path("out/grid2/mic.box").read_bytes() == before
    converted("picks", "out", "--to", "box", "--flip-y", "--shape", "300,400", "--overwrite")
    assert Path("out/grid2/mic.box").read_bytes() != before
    assert not [name for _, _, names in os.walk("out") for name in names if name.startswith(".")]


def box_sides(folder: str) -> set[str]:
    return {line.split()[2] for file in Path(folder).rglob("*.box") for line in file.read_text().splitlines()}


def test_lengths_with_their_unit(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of OUT by the pixel size of --micrographs, else by that of IN (1.5 Å) and --bin; a box in Å is even."""
    converted("picks", "own", "--to", "box", "--box", "84A")
    converted("picks", "finer", "--to", "box", "--box", "84Å", "--bin", "3/2")
    write_mrc("halves/mic.mrc", np.zeros(SHAPE, np.float32), 3)
    converted("picks/grid 1", "coarser", "--to", "box", "--box", "84a", "--micrographs", "halves", "--bin", "1/2")
    assert [box_sides(name) for name in ("own", "finer", "coarser")] == [{"56"}, {"84"}, {"28"}]
    Path("mic.box").write_text("0\t0\t20\t20\t-1\n90\t0\t20\t20\t-2\n")
    spacing = ("--filament-spacing", "45A", "--box", "81A")
    assert "another unit need; give --micrographs" in refused("mic.box", "f", "--to", "star", *spacing)
    assert converted("mic.box", "f", "--to", "star", *spacing, "--micrographs", "mics/grid 1")["picks_out"] == 4
    assert "too small" in refused("picks", "none", "--to", "box", "--box", "0px")
    asked = []
    monkeypatch.setattr(napari_gempick.workflows.convert, "convert", lambda *given: asked.append(given[2]))
    convert("picks", "none", "--to", "box", "--templates", "mic.mrc", "--diameter", "60px", "--bin", "1/2")
    assert asked[0].templates.diameter == 180


def test_binning_and_flips(work: Path) -> None:
    was = some_picks(5, 2)
    report = converted("picks/grid2", "out", "--to", "star", "--bin", "2", "--flip-y", "--shape", "600,800")
    found = read_coordinates("out/other_autopick.star")
    assert_same(found.picks, Picks(was.x * 2, 599 - was.y * 2, *[getattr(was, f) for f in FIELDS]), 2e-3)
    np.testing.assert_allclose((found.picks.psi + was.psi + 180) % 360, 180, atol=1e-3)
    assert (found.common("box_size"), found.common("pixel_size"), report["outside"]) == (128, 0.75, 0)


FIELDS = ("map_x", "map_y", "score", "k", "view", "section", "psi")


def test_flips_need_the_size(work: Path) -> None:
    assert "The size of grid 1/mic.mrc is not known, and flips need it; give --shape NY,NX" in refused(
        "picks", "out", "--to", "star", "--flip-x"
    )
    assert converted("picks", "out", "--to", "star", "--flip-x", "--micrographs", "mics")["picks_out"] == 15
    assert "give --shape" in refused("picks", "p.cs", "--to", "cs")
    Path("m.csv").write_text("x,y\n1,2\n")
    assert "need a box size; give --box" in refused("m.csv", "m.box", "--to", "box")
    assert Path("m.csv").exists()
    assert not Path("m.box").exists()


@pytest.mark.parametrize("factor", ["0", "-1", "x", "1/0", "nan", "inf"])
def test_a_factor_is_a_positive_number(work: Path, factor: str) -> None:
    assert "not a positive number or fraction" in refused("picks", "out", "--to", "star", "--bin", factor)
    assert not Path("out").exists()


def test_picks_outside_are_counted_and_the_cause_is_guessed(work: Path) -> None:
    x = np.array([10.0, 250.0, 295.0])
    write_table("swapped.csv", picks_at(x, np.array([390.0, 350.0, 320.0])), PicksInfo())
    report = converted("swapped.csv", "out.star", "--to", "star", "--shape", "300,400")
    assert report["outside"] == 3
    assert report["notes"][-1].startswith("Outside their micrographs lie 3 of 3 picks; check --bin")
    assert report["notes"][-1].endswith("Exchanging x and y (--swap-xy) leaves 0.")
    right = converted("swapped.csv", "right.star", "--to", "star", "--shape", "300,400", "--swap-xy")
    assert (right["outside"], read_coordinates("right.star").picks.y.tolist()) == (0, x.tolist())
    write_table(
        "edge.csv", picks_at(np.array([-0.5, 399.4, 399.5, 20.0]), np.array([299.4, -0.4, 9.0, 299.5])), PicksInfo()
    )
    report = converted("edge.csv", "edge.star", "--to", "star", "--shape", "300,400")
    assert report["outside"] == 2 and "--swap-xy) leaves" not in report["notes"][-1]


def test_unmatched_micrographs_are_an_error_unless_allowed(work: Path) -> None:
    Path("mics/grid2/other.mrc").unlink()
    sentence = refused("picks", "out", "--to", "box", "--micrographs", "mics")
    assert "1 of 3 micrographs are not in mics: grid2/other.mrc" in sentence
    assert "--allow-unmatched" in sentence
    assert not Path("out").exists()
    report = converted("picks", "out", "--to", "box", "--micrographs", "mics", "--allow-unmatched")
    assert (report["picks_in"], report["picks_out"], report["unmatched"]) == (15, 10, ["grid2/other.mrc"])
    Path("picks/grid2/mic_autopick.star").unlink()
    report = converted("picks", "more", "--to", "box", "--micrographs", "mics", "--allow-unmatched")
    assert (report["without_picks"], report["micrographs"]) == (1, 1)


def test_a_table_maps_names(work: Path) -> None:
    write_table("a.csv", some_picks(5), PicksInfo())
    Path("table.csv").write_text("name,micrograph\na,mics/grid2/other.mrc\n")
    converted("a.csv", "out", "--to", "star", "--name-table", "table.csv")
    assert read_autopick_index("out/autopick.star") == [("mics/grid2/other.mrc", "out/other_autopick.star")]
    converted("a.csv", "both", "--to", "star", "--name-table", "table.csv", "--micrographs", "mics")
    assert read_autopick_index("both/autopick.star") == [("mics/grid2/other.mrc", "both/grid2/other_autopick.star")]
    write_table("b.csv", some_picks(5), PicksInfo())
    assert "1 of 2 micrographs are not in table.csv: b.mrc" in refused(
        "a.csv", "b.csv", "out2", "--to", "star", "--name-table", "table.csv"
    )


def test_ambiguous_names_are_refused(work: Path) -> None:
    write_table("mic.csv", some_picks(5), PicksInfo())
    assert "can mean mics/grid 1/mic.mrc as well as mics/grid2/mic.mrc" in refused(
        "mic.csv", "out", "--to", "star", "--micrographs", "mics"
    )


def test_picks_for_cryosparc_are_keyed_by_its_numbers(work: Path) -> None:
    exposures = np.zeros(
        3,
        [
            ("uid", "<u8"),
            ("micrograph_blob/path", "S80"),
            ("micrograph_blob/shape", "<u4", (2,)),
            ("micrograph_blob/psize_A", "<f4"),
            ("mscope_params/exp_group_id", "<u4"),
        ],
    )
    exposures["uid"] = [2**63 + 1, 12, 13]
    exposures["micrograph_blob/path"][0] = b"J1/imported/grid 1/%021d_mic.mrc" % 2**60
    exposures["micrograph_blob/path"][1] = b"J1/imported/grid2/%021d_mic.mrc" % (2**60 + 1)
    exposures["micrograph_blob/path"][2] = b"J1/imported/grid2/%021d_other.mrc" % (2**60 + 2)
    exposures["micrograph_blob/shape"] = SHAPE
    exposures["micrograph_blob/psize_A"] = 1.5
    exposures["mscope_params/exp_group_id"] = [1, 2, 2]
    with open("exposures.cs", "wb") as stream:
        np.save(stream, exposures)
    report = converted("picks", "picks.cs", "--to", "cs", "--micrographs", "exposures.cs")
    assert (report["notes"], report["outside"]) == ([], 0)
    rows = np.load("picks.cs")
    assert len(set(rows["uid"].tolist())) == 15
    assert rows["location/micrograph_uid"].tolist() == [2**63 + 1] * 5 + [12] * 5 + [13] * 5
    assert rows["location/exp_group_id"].tolist() == [1] * 5 + [2] * 10
    assert rows["location/micrograph_path"][0] == exposures["micrograph_blob/path"][0]
    converted("picks.cs", "flipped.cs", "--to", "cs", "--flip-y")
    flipped = np.load("flipped.cs")
    assert flipped["uid"].tolist() == rows["uid"].tolist()
    assert flipped["location/micrograph_uid"].tolist() == rows["location/micrograph_uid"].tolist()
    np.testing.assert_allclose(
        flipped["location/center_y_frac"] * 300, 299 - rows["location/center_y_frac"] * 300, atol=1e-3
    )
    notes = converted("picks", "made.cs", "--to", "cs", "--shape", "300,400")["notes"]
    assert "made up, so cryoSPARC cannot link the picks" in notes[-1]


def test_a_damaged_file_does_not_stop_the_others(work: Path) -> None:
    Path("picks/grid2/mic_autopick.star").write_text("data_\nloop_\n_rlnCoordinateX\n1\n")
    report = converted("picks", "out", "--to", "box", status=1)
    assert [one["path"] for one in report["failed"]] == ["picks/grid2/mic_autopick.star"]
    assert (report["picks_out"], sorted(report["files"])) == (10, ["out/grid 1/mic.box", "out/grid2/other.box"])
    assert "has no table with _rlnCoordinateX and _rlnCoordinateY" in refused(
        "picks/grid2/mic_autopick.star", "x.box", "--to", "box"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing.star", "out", "--to", "box"), "nothing.star does not exist"),
        (("mics", "out", "--to", "box"), "mics holds no coordinate files"),
        (("picks", "out", "--to", "boxx"), "coordinate format boxx; choose one of star"),
        (("picks", "--to", "box"), "where to write them"),
        (("picks", "out", "--to", "box", "--shape", "3"), "not NY,NX"),
        (("picks", "out", "--to", "box", "--box", "0"), "0 is too small; give at least 1"),
        (("picks", "picks/grid2/mic_autopick.star", "out", "--to", "box"), "both have picks for out/grid2/mic.box"),
    ],
)
def test_errors_are_sentences(work: Path, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*arguments)
    assert not Path("out").exists()


def test_no_picks_stay_no_picks(work: Path) -> None:
    write_autopick("empty_autopick.star", Picks.empty(), box_size=64, pixel_size=1.5)
    for to, made in FORMATS.items():
        out = f"empty{made.suffix}"
        report = converted("empty_autopick.star", f"{to}/{out}", "--to", to, "--shape", "300,400", "--box", "64")
        assert (report["picks_out"], report["micrographs"]) == (0, 1)
        back = converted(f"{to}/{out}", f"{to}/back.csv", "--to", "csv", "--from", to, "--shape", "300,400")
        assert back["picks_out"] == 0


def test_results_of_a_run_know_their_micrographs(gempick, data, basic, planted) -> None:
    """A folder of results gives sizes, views, micrographs and box size without being asked."""
    gempick("pick", "grid1/mic.mrc", "grid2/mic.mrc", *basic, "-o", "run", check=0)
    report = converted("run", "picks.cs", "--to", "cs")
    rows = np.load("picks.cs")
    assert (report["micrographs"], report["outside"], len(rows)) == (2, 0, report["picks_in"])
    assert (report["proof"]["state"], report["proof"]["picks"]) == ("verified", 8)
    assert set(rows["location/micrograph_path"].tolist()) == {b"grid1/mic.mrc", b"grid2/mic.mrc"}
    assert rows["location/micrograph_shape"][0].tolist() == [250, 260]
    places = [(x * 260, y * 250) for x, y in rows[["location/center_x_frac", "location/center_y_frac"]].tolist()]
    for x, y in planted:
        assert min(np.hypot(px - x, py - y) for px, py in places) < 1.5
    report = converted("run/autopick.star", "all.csv", "--to", "csv")
    lines = Path("all.csv").read_text().splitlines()
    assert lines[0] == "micrograph,x,y,score,view,psi,template,box_size"
    assert {line.split(",")[0] for line in lines[1:]} == {"grid1/mic.mrc", "grid2/mic.mrc"}
    assert {line.split(",")[4] for line in lines[1:]} == {"particle"}
    (data / "run" / "run.json").unlink()
    assert converted("run", "again.cs", "--to", "cs")["picks_out"] == len(rows)


def test_results_give_views_and_sizes(work: Path) -> None:
    """Classes become named views again, flips find the size, and a list of results is as good as their folder."""
    views = [{"name": "side", "sections": 1}, {"name": "long top", "sections": 3}]
    row = {"name": "grid2/other", "path": str(work / "mics/grid2/other.mrc"), "shape": list(SHAPE), "pixel_size": 1.5}
    run = {"settings": {}, "diameter": 200.0, "views": views, "micrographs": [row]}
    Path("picks/run.json").write_text(json.dumps(run))
    for given in ("picks/grid 1", "picks/grid2/mic_autopick.star"):
        assert "flips need it" in refused(given, "no", "--to", "csv", "--flip-y")
    write_autopick_index("picks/autopick.star", [("mics/grid2/other.mrc", "picks/grid2/other_autopick.star")])
    Path("picks/grid 1/mic_autopick.star").unlink()
    Path("picks/grid2/mic_autopick.star").unlink()
    for number, given in enumerate(("picks", "picks/autopick.star")):
        report = converted(given, f"{number}.csv", "--to", "csv", "--flip-y")
        assert (report["outside"], report["loses"]) == (0, [])
        found = read_coordinates(f"{number}.csv").by_micrograph()["mics/grid2/other.mrc"]
        was = some_picks(5, 2)
        assert [found.view_names[view] for view in found.picks.view] == [
            "side" if section == 0 else "long top" for section in was.section
        ]
        np.testing.assert_allclose(found.picks.y, 299 - was.y, atol=2e-3)


def test_gempicker_on_binned_micrographs(work: Path) -> None:
    """Its coordinates are of the binned micrograph, whose size follows from the full one's."""
    converted("picks", "binned", "--to", "gempicker", "--bin", "1/4", "--shape", "75,100")
    converted("binned", "full", "--to", "star", "--bin", "4", "--micrographs", "mics")
    for number, name in enumerate(NAMES):
        found = read_coordinates(f"full/{name}_autopick.star")
        assert_same(found.picks, some_picks(5, number), 3e-3)
        assert found.common("box_size") == 64


SAMPLE = Path(__file__).parents[2] / "sample_data"


def test_a_flipped_import_is_refused_and_the_option_that_mends_it_is_named(work: Path) -> None:
    """Truth of the sample data, upside down: no file of that name, exit 1, and with --flip-y it is verified."""
    truth, micrograph = SAMPLE / "micrograph_001_truth.csv", SAMPLE / "micrograph_001.mrc"
    templates = ("--templates", f"side={SAMPLE}/template_side.mrc", f"top={SAMPLE}/template_top.mrc")
    converted(truth, "micrograph_001.csv", "--to", "csv", "--flip-y", "--shape", "1024,1024")
    proving = ("--to", "box", "--box", "130", "--micrographs", micrograph, *templates)
    result = convert("micrograph_001.csv", "out", *proving)
    assert result.exit_code == 1 and not Path("out").exists()
    assert "out was not written" in result.stderr and "use --flip-y (the coordinates fit" in result.stderr
    report = converted("micrograph_001.csv", "out", *proving, "--flip-y")
    assert report["proof"]["state"] == "verified" and report["proof"]["written"] > 0.7 > 0.4 > report["proof"]["other"]
    assert Path("out/micrograph_001.box").exists()
    wrong = convert("micrograph_001.csv", "twice", *proving, "--flip-y", "--swap-xy")
    assert wrong.exit_code == 1 and "use --flip-y in place of --swap-xy --flip-y" in wrong.stderr
    assert "omit --swap-xy" in convert(truth, "twice", *proving, "--swap-xy").stderr
    assert converted("micrograph_001.csv", "unproved", *proving, "--no-proof")["proof"] is None
    plain = converted("micrograph_001.csv", "plain.csv", "--to", "csv")["proof"]
    assert plain["sentence"] == "not verifiable: there are no templates to compare with; give --templates"
    lost = converted("micrograph_001.csv", "lost.csv", "--to", "csv", *templates)["proof"]
    assert lost["sentence"] == "not verifiable: the micrographs were not found; give --micrographs"
    assert not [path.name for path in work.iterdir() if path.name.startswith(".")]
