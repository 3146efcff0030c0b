"""Files of coordinates, in columns as programs write them; folders and lists of files in any format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from gemmi import cif
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import no_space
from napari_gempick.io.coordinates import PICK_FILES, find_files, read_coordinates, read_entries
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.formats.eman import write_boxes
from napari_gempick.io.formats.relion import read_autopick_index, write_autopick, write_autopick_index
from napari_gempick.io.formats.table import write_table
from napari_gempick.io.star import read_table
from napari_gempick.model.errors import InputError, OutputError, SettingsError
from napari_gempick.model.picks import Picks


@st.composite
def picks(draw: st.DrawFn) -> Picks:
    n = draw(st.integers(0, 5))

    def column(dtype: str, low: float, high: float) -> np.ndarray:
        whole = np.dtype(dtype).kind == "i"
        width = 32 if dtype == "f4" else 64
        elements = st.integers(int(low), int(high)) if whole else st.floats(low, high, width=width)
        return draw(hnp.arrays(dtype, n, elements=elements))

    return Picks(
        x=column("f8", -100, 20000),
        y=column("f8", -100, 20000),
        map_x=column("i4", 0, 20000),
        map_y=column("i4", 0, 20000),
        score=column("f4", -1, 1),
        k=column("i4", -1, 20000),
        view=column("i4", 0, 2),
        section=column("i4", -1, 50),
        psi=column("f8", -720, 720),
    )


def rows_as_relion_reads_them(path: Path) -> tuple[list[str], list[list[str]]]:
    """Labels up to '#', then rows up to an empty line: what RELION's own reader does with the first block."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    start = lines.index("data_")
    lines = lines[lines.index("loop_", start) + 1 :]
    labels = [line[1 : line.index("#") - 1] for line in lines if line.startswith("_")]
    rows = lines[len(labels) :]
    return labels, [row.split() for row in rows[: rows.index("")]]


def test_autopick_columns(tmp_path: Path, some_picks: Picks) -> None:
    path = tmp_path / "sub" / "mic_autopick.star"
    write_autopick(path, some_picks, box_size=180, pixel_size=1.77)
    labels, rows = rows_as_relion_reads_them(path)
    assert dict(zip(labels, zip(*rows, strict=True), strict=True)) == {
        "rlnCoordinateX": ("10.250", "300.000", "7.500"),
        "rlnCoordinateY": ("20.125", "0.000", "4095.000"),
        "rlnClassNumber": ("1", "3", "2"),
        "rlnAutopickFigureOfMerit": ("0.899999976", "0.333333343", "-0.25"),
        "rlnAnglePsi": ("330.000", "0.000", "0.000"),
        "rlnMicrographPixelSize": ("1.77",) * 3,
        "rlnImageSize": ("180",) * 3,
    }


def test_no_picks_are_a_valid_loop_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "mic_autopick.star"
    write_autopick(path, Picks.empty(), pixel_size=1.0)
    labels, rows = rows_as_relion_reads_them(path)
    assert (labels[:2], rows) == (["rlnCoordinateX", "rlnCoordinateY"], [])
    assert len(cif.read(str(path)).sole_block().find_loop("_rlnCoordinateX")) == 0
    assert len(read_coordinates(path).picks) == 0


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(picks())
def test_autopick_round_trip(tmp_path: Path, given_picks: Picks) -> None:
    path = tmp_path / "m_autopick.star"
    write_autopick(path, given_picks, box_size=64, pixel_size=1.5)
    first = path.read_bytes()
    read = read_coordinates(path).picks
    np.testing.assert_allclose(read.x, given_picks.x, atol=5.1e-4)
    np.testing.assert_allclose(read.y, given_picks.y, atol=5.1e-4)
    np.testing.assert_array_equal(read.score, given_picks.score)
    np.testing.assert_array_equal(read.section, given_picks.section)
    turn = (read.psi - given_picks.psi + 180) % 360 - 180
    np.testing.assert_allclose(turn, 0, atol=5.1e-4)
    assert ((read.psi >= 0) & (read.psi < 360)).all()
    write_autopick(path, read, box_size=64, pixel_size=1.5)
    assert path.read_bytes() == first
    assert b"-0.000" not in first.split(), "no zero with a sign"
    assert os.listdir(tmp_path) == ["m_autopick.star"]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(picks())
def test_csv_round_trip(tmp_path: Path, given_picks: Picks) -> None:
    names = ("side, long", 'the "top"', "ü")
    write_table(tmp_path / "m.csv", given_picks, PicksInfo(view_names=names))
    read = read_coordinates(tmp_path / "m.csv")
    np.testing.assert_allclose(read.picks.x, given_picks.x, atol=5.1e-4)
    np.testing.assert_array_equal(read.picks.score, given_picks.score)
    np.testing.assert_array_equal(read.picks.section, given_picks.section)
    assert [read.view_names[view] for view in read.picks.view] == [names[view] for view in given_picks.view]


@pytest.mark.parametrize("box_size", [100, 101])
def test_box_corners_are_whole_and_the_centre_is_pixel_half_the_size(
    tmp_path: Path, some_picks: Picks, box_size: int
) -> None:
    write_boxes(tmp_path / "m.box", some_picks, PicksInfo(box_size=box_size))
    rows = [line.split() for line in (tmp_path / "m.box").read_text().splitlines()]
    assert rows[0] == [str(10 - 50), str(20 - 50), str(box_size), str(box_size)]
    read = read_coordinates(tmp_path / "m.box").picks
    assert read.x.tolist() == [10, 300, 8]
    assert read.y.tolist() == [20, 0, 4095]
    with pytest.raises(SettingsError, match="need a box size"):
        write_boxes(tmp_path / "m.box", some_picks, PicksInfo(box_size=None))


def test_box_files_of_other_programs(tmp_path: Path) -> None:
    (tmp_path / "m.box").write_text("100 200 64 32 -3\n\n 1.5\t2.5\t65\t65\n")
    read = read_coordinates(tmp_path / "m.box")
    assert (read.picks.x.tolist(), read.picks.y.tolist()) == ([132, 33.5], [216, 34.5])
    assert np.isnan(read.picks.score).all() and (read.picks.section == -1).all()
    (tmp_path / "m.box").write_text("100 200\n")
    with pytest.raises(InputError, match=r"line 1 has 2 values, but a box has four"):
        read_coordinates(tmp_path / "m.box")


def test_index(tmp_path: Path) -> None:
    rows = [("Micro graphs/é 1.mrc", "out/é 1_autopick.star"), (Path("data_x/2.mrc"), Path("out/2_autopick.star"))]
    write_autopick_index(tmp_path / "autopick.star", rows)
    assert read_autopick_index(tmp_path / "autopick.star") == [(str(a), str(b)) for a, b in rows]
    assert "\ndata_coordinate_files\n" in (tmp_path / "autopick.star").read_text()
    assert read_table(tmp_path / "autopick.star", "coordinate_files").keys() == {
        "rlnMicrographName",
        "rlnMicrographCoordinates",
    }
    with pytest.raises(InputError, match="lists coordinate files, so give one of these"):
        read_coordinates(tmp_path / "autopick.star")
    write_autopick_index(tmp_path / "autopick.star", [])
    assert read_autopick_index(tmp_path / "autopick.star") == []


PARTICLES = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnImageSize #2
1 256

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnMicrographName #3
_rlnClassNumber #4
_rlnAnglePsi #5
_rlnAutopickFigureOfMerit #6
10.5 20 mics/b.mrc 3 -30.0 0.5
30 40 mics/a.mrc 1 -999.0 -999.0
50 60 mics/b.mrc 1 720.25 0.25
"""


def test_a_particle_file_is_split_by_micrograph(tmp_path: Path) -> None:
    (tmp_path / "particles.star").write_text(PARTICLES)
    whole = read_coordinates(tmp_path / "particles.star")
    assert whole.picks.section.tolist() == [2, 0, 0]
    np.testing.assert_array_equal(whole.picks.psi, [330, np.nan, 0.25])
    np.testing.assert_array_equal(whole.picks.score, np.float32([0.5, np.nan, 0.25]))
    parts = whole.by_micrograph()
    assert list(parts) == ["mics/b.mrc", "mics/a.mrc"]
    assert parts["mics/b.mrc"].picks.x.tolist() == [10.5, 50]
    assert parts["mics/b.mrc"].columns["rlnAnglePsi"] == ["-30.0", "720.25"]


def test_hand_picks_are_written_as_relion_writes_them(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("x,y\n1,2\n")
    read = read_coordinates(tmp_path / "truth.csv")
    assert list(read.by_micrograph()) == [""]
    write_autopick(tmp_path / "m.star", read.picks, pixel_size=1)
    table = read_table(tmp_path / "m.star")
    assert (table["rlnAutopickFigureOfMerit"], table["rlnAnglePsi"]) == (["-999"], ["-999.000"])
    assert table["rlnClassNumber"] == ["0"]
    write_table(tmp_path / "m.csv", read.picks, PicksInfo(view_names=read.view_names))
    assert (tmp_path / "m.csv").read_text() == "x,y,score,view,psi,template\n1.000,2.000,,particle,,\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_truth_tables(tmp_path: Path, delimiter: str) -> None:
    text = "\ufeffX, y ,view,inplane_deg,source\n1.5,2,side,30,both\n3,4,top,,one\n\n5,6,side,-10,both\n"
    (tmp_path / "truth.csv").write_text(text.replace(",", delimiter))
    read = read_coordinates(tmp_path / "truth.csv")
    assert read.picks.x.tolist() == [1.5, 3, 5]
    assert (read.view_names, read.picks.view.tolist()) == (("side", "top"), [0, 1, 0])
    np.testing.assert_array_equal(read.picks.psi, [330, np.nan, 10])
    assert read.columns["source"] == ["both", "one", "both"]
    assert (read.picks.map_x.tolist(), read.picks.k.tolist()) == ([2, 3, 5], [-1, -1, -1])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "a,b\n1,2\n", "no header with the columns x and y"),
        ("t.csv", "", "no header"),
        ("t.csv", "1,2\n3,4\n", "no header"),
        ("t.csv", "x,y\n1,2\n3\n", "row 2 has 1 values, but the header has 2"),
        ("t.csv", "x,y\n1,two\n", "the column y in row 1 is 'two'"),
        ("t.csv", "x,y\n1,\n", "row 1 has an impossible position"),
        ("t.csv", "x,y\n1,1e300\n", "row 1 has an impossible position"),
        ("t.star", "data_\nloop_\n_rlnMicrographName\na\n", "no table with _rlnCoordinateX"),
        ("t.star", "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 nan\n", "row 1 has an impossible"),
        ("t.xyz", "{}", r"no suffix of a coordinate format \(.*\.box.*\.csv.*\.star"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_coordinates(tmp_path / name)
    assert caught.value.path == str(tmp_path / name)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, some_picks: Picks, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m_autopick.star"
    write_autopick(path, some_picks, pixel_size=1.5)
    old = path.read_bytes()

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OutputError, match=r"m_autopick\.star: No space left"):
        write_autopick(path, Picks.empty(), pixel_size=1.5)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.realdata
def test_real_truth(real_data: Path) -> None:
    truth = read_coordinates(real_data / "klh/klh_001_truth.csv")
    assert set(truth.view_names) >= {"side", "top"}
    side = truth.picks.view == truth.view_names.index("side")
    assert np.isfinite(truth.picks.psi[side]).all()


@pytest.mark.parametrize("name", [name for name, made in FORMATS.items() if made.holds != "data set"])
def test_every_format_is_found_in_folders_by_the_micrographs_name(tmp_path: Path, some_picks: Picks, name: str) -> None:
    made = FORMATS[name]
    for stem in ("grid 1/mic.01", "grid 2/mic.01"):
        made.write(tmp_path / f"{stem}{made.suffix}", some_picks, PicksInfo(1.5, 64, (), "", (4096, 4096)))
    (tmp_path / "run.json").write_text("{}")
    files, several = find_files(tmp_path, PICK_FILES)
    assert ([stem_of(file.path.name) for file in files], several) == (["mic.01", "mic.01"], True)
    if not made.needs_shape:
        entries, whole, *_ = read_entries(tmp_path, PICK_FILES)
        assert ([entry.name for entry in entries], whole) == (["grid 1/mic.01", "grid 2/mic.01"], True)


@pytest.mark.parametrize("labels", ["rlnMicrographName", "rlnReferenceImage", "rlnImageName rlnAngleRot"])
def test_lists_without_coordinates_are_left_out_of_a_folder(tmp_path: Path, some_picks: Picks, labels: str) -> None:
    """RELION's folders hold lists of micrographs, class averages and images beside coordinates."""
    lines = "".join(f"_{label} #{number}\n" for number, label in enumerate(labels.split(), start=1))
    (tmp_path / "list.star").write_text(f"data_\n\nloop_\n{lines}1@a.mrc 2\n")
    with pytest.raises(InputError, match="holds no coordinate files"):
        find_files(tmp_path, PICK_FILES)
    for name in ("csv", "star"):
        FORMATS[name].write(tmp_path / f"mic{FORMATS[name].suffix}", some_picks, PicksInfo(1.5, 64))
        (file,), _ = find_files(tmp_path, PICK_FILES)
        assert file.path.name == f"mic{FORMATS[name].suffix}"


def test_a_list_gives_the_micrographs_names(tmp_path: Path, some_picks: Picks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FORMATS["box"].write("c/m.box", some_picks, PicksInfo(box_size=64))
    write_autopick_index("autopick.star", [("a b/m.mrc", "c/m.box"), ("gone.mrc", "c/gone.box")])
    found = read_entries(tmp_path / "autopick.star", PICK_FILES)
    assert ([entry.name for entry in found.entries], found.whole) == (["a b/m"], True)
    assert found.missing == [f"{tmp_path}/autopick.star lists c/gone.box, which does not exist; it was left out."]
    write_autopick_index("none.star", [("gone.mrc", "c/gone.box")])
    with pytest.raises(InputError, match=r"lists c/gone\.box, which does not exist; run from RELION's project folder"):
        read_entries(tmp_path / "none.star", PICK_FILES)
    write_autopick_index("autopick.star", [("a b/m.mrc", "c/m.box")])
    (file,), several = find_files(tmp_path / "autopick.star", PICK_FILES)
    assert (file.micrograph, str(file.name), several) == ("a b/m.mrc", "a b/m.mrc", True)
    (entry,), *_ = read_entries(tmp_path / "autopick.star", PICK_FILES)
    assert entry.name == "a b/m"


def test_a_data_set_is_split_by_its_names(tmp_path: Path, some_picks: Picks) -> None:
    info = [PicksInfo(None, 64, (), name, (100, 100)) for name in ("x/m.mrc", "y/m.mrc")]
    FORMATS["cs"].write_set(tmp_path / "p.cs", [(some_picks, info[0]), (some_picks.take(np.array([1])), info[1])])
    entries, whole, *_ = read_entries(tmp_path / "p.cs", PICK_FILES)
    assert [(entry.name, len(entry.found.picks)) for entry in entries] == [("x/m", 3), ("y/m", 1)]
    assert whole
