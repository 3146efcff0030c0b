"""Files as other programs and people really make them, with values that are known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_gempick.io.coordinates import PICK_FILES, read_coordinates, read_entries
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.coordinate_set import ReadOptions
from napari_gempick.io.formats.cryosparc import read_cs, read_exposures
from napari_gempick.io.formats.eman import info_name
from napari_gempick.io.micrograph_names import Micrographs
from napari_gempick.io.star import read_tables
from napari_gempick.model.errors import InputError, SettingsError


def star(path: Path, *blocks: tuple[str, str, list[str]]) -> Path:
    """Write blocks of (name, labels, rows)."""
    text = ""
    for name, labels, rows in blocks:
        text += f"\ndata_{name}\n\nloop_\n" + "".join(f"_{label} #{n}\n" for n, label in enumerate(labels.split(), 1))
        text += "\n".join(rows) + "\n"
    path.write_text(text)
    return path


XY = "rlnCoordinateX rlnCoordinateY"


def positions(found) -> list[tuple[float, float]]:
    return list(zip(found.picks.x.tolist(), found.picks.y.tolist(), strict=True))


SHIFTED = {
    # optics labels and row, shift labels and values, what is subtracted from (100, 250), what the note says besides
    "Å, binned particles": ("rlnImagePixelSize rlnMicrographOriginalPixelSize", "3.0 1.5", "Angst", (20, -10), ""),
    "Å, micrograph pixel size": ("rlnMicrographPixelSize", "1.5", "Angst", (20, -10), ""),
    "Å, of the particles only": (
        "rlnImagePixelSize",
        "1.5",
        "Angst",
        (20, -10),
        "with the pixel size of the particles",
    ),
    "px, both known": ("rlnImagePixelSize rlnMicrographPixelSize", "3.0 1.5", "", (60, -30), ""),
    "px, nothing known": ("rlnVoltage", "300", "", (30, -15), "as if the particles had the pixel size"),
}


@pytest.mark.parametrize("kind", SHIFTED)
def test_refined_shifts_are_subtracted_as_relion_does(tmp_path: Path, kind: str) -> None:
    labels, row, unit, (dx, dy), says = SHIFTED[kind]
    path = star(
        tmp_path / "run_data.star",
        ("optics", f"rlnOpticsGroup {labels}", [f"1 {row}"]),
        (
            "particles",
            f"rlnMicrographName {XY} rlnOriginX{unit} rlnOriginY{unit} rlnOpticsGroup",
            ["a.mrc 100 250 30 -15 1"],
        ),
    )
    found = read_coordinates(path)
    assert positions(found) == [(100 - dx, 250 - dy)]
    (note,) = found.notes
    assert "of 1 particle" in note and "--no-shifts" in note and says in note
    left = read_coordinates(path, shifts=False)
    assert (positions(left), left.notes) == ([(100, 250)], ())


def test_shifts_in_angstrom_need_a_pixel_size_and_no_shift_needs_no_word(tmp_path: Path) -> None:
    columns = f"rlnMicrographName {XY} rlnOriginXAngst rlnOriginYAngst"
    path = star(tmp_path / "p.star", ("particles", columns, ["a.mrc 100 250 3 0"]))
    with pytest.raises(InputError, match=r"shifts in Å .* but no pixel size .* leave the shifts with --no-shifts"):
        read_coordinates(path)
    path = star(tmp_path / "p.star", ("particles", columns, ["a.mrc 100 250 0.0 0"]))
    assert (positions(read_coordinates(path)), read_coordinates(path).notes) == ([(100, 250)], ())


def test_particles_of_several_stacks_are_never_merged(tmp_path: Path) -> None:
    rows = [
        "000001@Extract/job9/mics/a.mrcs 1 2",
        "000002@Extract/job9/mics/b.mrcs 3 4",
        "7@Extract/job9/mics/a.mrcs 5 6",
    ]
    sets = read_coordinates(star(tmp_path / "p.star", ("particles", f"rlnImageName {XY}", rows))).by_micrograph()
    assert {name: positions(found) for name, found in sets.items()} == {
        "Extract/job9/mics/a": [(1, 2), (5, 6)],
        "Extract/job9/mics/b": [(3, 4)],
    }


def test_every_block_with_coordinates_counts(tmp_path: Path) -> None:
    named = star(
        tmp_path / "n.star",
        ("one", f"rlnMicrographName {XY}", ["a.mrc 1 2"]),
        ("other", f"{XY} rlnMicrographName rlnAnglePsi", ["3 4 b.mrc 9"]),
    )
    sets = read_coordinates(named).by_micrograph()
    assert {name: positions(found) for name, found in sets.items()} == {"a.mrc": [(1, 2)], "b.mrc": [(3, 4)]}
    by_block = star(tmp_path / "b.star", ("a", XY, ["1 2"]), ("b", XY, ["3 4", "5 6"]))
    sets = read_coordinates(by_block).by_micrograph()
    assert {name: positions(found) for name, found in sets.items()} == {"a": [(1, 2)], "b": [(3, 4), (5, 6)]}
    half = star(tmp_path / "h.star", ("a", XY, ["1 2"]), ("b", f"rlnMicrographName {XY}", ["b.mrc 3 4"]))
    with pytest.raises(InputError, match=r"several blocks with coordinates \(a, b\), and only some name"):
        read_coordinates(half)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# version 30001\n\ndata_\n\n", "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n"]
)
def test_an_empty_pick_file_of_relion_has_no_picks(tmp_path: Path, text: str) -> None:
    (tmp_path / "m_autopick.star").write_text(text)
    assert len(read_coordinates(tmp_path / "m_autopick.star").picks) == 0


FILAMENT = "200\t100\t64\t64\t-1\n560\t420\t64\t64\t-2\n80\t300\t64\t64\t-1\n80\t500\t64\t64\t-2\n"


def test_ends_of_filaments_are_not_particles(tmp_path: Path) -> None:
    path = tmp_path / "f.box"
    path.write_text(FILAMENT)
    with pytest.raises(SettingsError, match=r"f\.box holds 2 filaments by the ends .* --filament-spacing PX"):
        read_coordinates(path)
    found = read_coordinates(path, spacing=100).picks
    first = np.array([232.0, 132.0]) + 100 * np.arange(5)[:, None] * np.array([360, 320]) / np.hypot(360, 320)
    np.testing.assert_allclose(np.stack([found.x, found.y], axis=1)[:5], first)
    np.testing.assert_allclose(np.stack([found.x, found.y], axis=1)[5:], [[112, 332], [112, 432], [112, 532]])
    np.testing.assert_allclose(found.psi, [*[360 - np.degrees(np.arctan2(320, 360))] * 5, *[270] * 3])  # down is -90


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 4 4 -2\n", "line 1 is not where a filament can begin or end"),
        ("1 2 4 4 -1\n3 4 4 4 -1\n", "line 2 is not where"),
        ("1 2 4 4 -1\n3 4 4 4 -2\n5 6 4 4\n", "line 3 is not where"),
        ("\n1 2 4 4 -1\n", "the filament that begins in line 2 has no end"),
    ],
)
def test_broken_filaments(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f.box").write_text(text)
    with pytest.raises(InputError, match=message):
        read_coordinates(tmp_path / "f.box", spacing=5)


def test_a_filament_through_several_points(tmp_path: Path) -> None:
    (tmp_path / "f.box").write_text("0 0 2 2 -1\n100 0 2 2 0\n100 100 2 2 -2\n")
    found = read_coordinates(tmp_path / "f.box", spacing=50).picks
    np.testing.assert_allclose(np.stack([found.x, found.y], axis=1), [[1, 1], [51, 1], [101, 1], [101, 51], [101, 101]])
    np.testing.assert_allclose(found.psi, [0, 0, 270, 270, 270])


def test_segments_follow_their_helix(tmp_path: Path) -> None:
    (tmp_path / "s.box").write_text(
        "#micrograph: mic.mrc\n#segment length: 64\n#helix: (10.0, 20.0),(60.0, 20.0),64\n20.5\t20\n40.5\t20\n"
        "#helix: (5.0, 90.0),(5.0, 30.0),64\n5\t80\n5\t60\n5\t40\n"
    )
    found = read_coordinates(tmp_path / "s.box")
    assert positions(found) == [(20.5, 20), (40.5, 20), (5, 80), (5, 60), (5, 40)]
    np.testing.assert_allclose(found.picks.psi, [0, 0, 90, 90, 90])  # up is counter-clockwise
    assert found.common("box_size") == 64


def test_filaments_of_cryolo(tmp_path: Path) -> None:
    rows = ["10 20 8 8 0.5 0", "20 20 8 8 0.4 0", "50 90 8 8 0.3 1", "50 80 8 8 0.2 1", "70 70 8 8 0.1 <NA>"]
    labels = "CoordinateX CoordinateY Width Height Confidence filamentid"
    found = read_coordinates(star(tmp_path / "f.cbox", ("cryolo", labels, rows)))
    assert positions(found)[2:] == [(54, 94), (54, 84), (74, 74)]
    np.testing.assert_allclose(found.picks.psi, [0, 0, 90, 90, np.nan])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ends=st.lists(st.tuples(*[st.integers(-50, 4000)] * 4).filter(lambda e: e[:2] != e[2:]), min_size=1, max_size=4),
    spacing=st.floats(20, 500),
)
def test_points_lie_on_the_axis_at_the_spacing(tmp_path: Path, ends: list, spacing: float) -> None:
    path = tmp_path / "f.box"
    path.write_text("".join(f"{a} {b} 10 10 -1\n{c} {d} 10 10 -2\n" for a, b, c, d in ends))
    found, place = read_coordinates(path, spacing=spacing).picks, 0
    for a, b, c, d in ends:
        length = np.hypot(c - a, d - b)
        count = int(length / spacing + 1e-9) + 1
        x, y, psi = (values[place : place + count] for values in (found.x, found.y, found.psi))
        along = np.arange(count) * spacing
        np.testing.assert_allclose(x, a + 5 + along * (c - a) / length, atol=1e-6)
        np.testing.assert_allclose(y, b + 5 + along * (d - b) / length, atol=1e-6)
        np.testing.assert_allclose(np.exp(1j * np.radians(psi)), ((c - a) - 1j * (d - b)) / length, atol=1e-6)
        place += count
    assert place == len(found)


UID = "location/micrograph_uid"
FIELDS = [("uid", "<u8"), (UID, "<u8"), ("location/center_x_frac", "<f4"), ("location/center_y_frac", "<f4"),
          ("location/micrograph_path", "S80"), ("location/micrograph_shape", "<u4", (2,)),
          ("location/micrograph_psize_A", "<f4"), ("pick_stats/angle_rad", "<f4")]  # fmt: skip
MIC = b"J2/motioncorrected/005061538423412341234_foo_patch_aligned_doseweighted.mrc"


def cs(path: Path, fields: list, **values: object) -> Path:
    rows = np.zeros(3, fields)
    known = {"uid": [1, 2, 3], UID: 77, "location/center_x_frac": [0.1, 0.5, 0.9],
             "location/center_y_frac": [0.2, 0.5, 0.7], "location/micrograph_path": MIC,
             "location/micrograph_shape": [(300, 420)] * 3, "location/micrograph_psize_A": 1.1}  # fmt: skip
    for name in rows.dtype.names:
        rows[name] = values.get(name, known.get(name, 0))
    with path.open("wb") as stream:
        np.save(stream, rows)
    return path


def exposures(path: Path) -> Path:
    rows = np.zeros(1, [("uid", "<u8"), ("micrograph_blob/path", "S90"), ("micrograph_blob/shape", "<u4", (2,)),
                        ("micrograph_blob/psize_A", "<f4")])  # fmt: skip
    rows[0] = 77, b">" + MIC, (300, 420), 1.1
    with path.open("wb") as stream:
        np.save(stream, rows)
    return path


SHAPE, PATH, PIXEL = (f"location/micrograph_{name}" for name in ("shape", "path", "psize_A"))


@pytest.mark.parametrize("without", [(), (SHAPE,), (PATH,), (SHAPE, PATH, PIXEL)])
def test_picks_of_cryosparc_join_their_exposures(tmp_path: Path, without: tuple[str, ...]) -> None:
    path = cs(tmp_path / "p.cs", [field for field in FIELDS if field[0] not in without])
    found = read_cs(path, read_exposures(exposures(tmp_path / "e.cs")))
    np.testing.assert_allclose(positions(found), [(42, 60), (210, 150), (378, 210)], atol=1e-4)
    assert set(found.micrographs) == {MIC.decode()}
    assert found.common("pixel_size") == 1.1 and found.common("shape") == [300, 420]
    if "location/micrograph_shape" in without:
        with pytest.raises(InputError, match=r"does not have the sizes .* give --micrographs with the \.cs file"):
            read_coordinates(path)


def test_a_group_of_cryosparc_joins_its_files(tmp_path: Path) -> None:
    cs(tmp_path / "picks.cs", [field for field in FIELDS if "path" not in field[0]])
    other = [field for field in FIELDS if "path" in field[0] or field[0] == "uid"]
    cs(tmp_path / "passthrough.cs", other, uid=[3, 2, 9])
    text = "results:\n  location:\n    metafile: '>picks.cs'\n  more:\n    metafile: \">passthrough.cs\"\n"
    (tmp_path / "g.csg").write_text(text)
    found = read_coordinates(tmp_path / "g.csg")
    np.testing.assert_allclose(positions(found), [(210, 150), (378, 210)], atol=1e-4)
    assert set(found.micrographs) == {MIC.decode()}
    (tmp_path / "g.csg").write_text(text.replace("picks", "gone"))
    with pytest.raises(InputError, match=r"g\.csg names gone\.cs, which is not beside it"):
        read_coordinates(tmp_path / "g.csg")
    (tmp_path / "c.cs").write_bytes(b"\x94CSDAT" + bytes(40))
    with pytest.raises(InputError, match=r"c\.cs is a compressed \.cs file \(CSDAT\); save it as NumPy"):
        read_coordinates(tmp_path / "c.cs")


def test_exposures_are_found_on_disk_below_the_project(tmp_path: Path) -> None:
    (tmp_path / "J9").mkdir()
    mic = tmp_path / MIC.decode()
    mic.parent.mkdir(parents=True)
    mic.touch()
    (known,) = Micrographs(exposures(tmp_path / "J9/e.cs")).all
    assert known.path == mic and known.uid == 77 and known.pixel_size == 1.1


NAMES = {
    "mic.mrc": "info/mic_info.json",
    "micrographs/mic.mrc": "info/mic_info.json",
    "Micrographs/STEM.mrc": "info/Micrographs-STEM_info.json",
    "data/x/mic__filtered.mrc": "info/x-mic_info.json",
    "/abs/raw/mic.tif": "info/mic_info.json",
}


@pytest.mark.parametrize("micrograph", NAMES)
def test_info_files_have_the_names_that_eman2_looks_for(tmp_path: Path, some_picks, micrograph: str) -> None:
    assert info_name(micrograph) == NAMES[micrograph]
    made = FORMATS["eman2"]
    path = tmp_path / made.file_of("below/mic", micrograph)
    assert path == tmp_path / "below" / NAMES[micrograph]
    made.write(path, some_picks, PicksInfo(1.5, 64, (), micrograph, (400, 400)))
    (entry,) = read_entries(tmp_path, PICK_FILES).entries
    assert entry.micrograph == micrograph
    content = json.loads(path.read_text())
    del content["gempick_micrograph"]  # as EMAN2 itself writes it
    path.write_text(json.dumps(content))
    found = Micrographs("x", [micrograph, "other/else.mrc"]).find(
        tuple(Path(path.name.removesuffix("_info.json")).parts)
    )
    assert found is not None and found.name == micrograph


NAPARI = "index,axis-0,axis-1\n0.0,250.5,100.25\n1.0,7.0,9.0\n"


@pytest.mark.parametrize(
    "text",
    [
        NAPARI,
        NAPARI.replace("index,", "").replace("0.0,250", "250").replace("1.0,7", "7"),
        "index,axis-0,axis-1,axis-2\n0,3,250.5,100.25\n1,3,7,9\n",
        "index,axis-0,axis-1,score\n0,250.5,100.25,0.5\n1,7,9,0.25\n",
        "x,y\n100.25,250.5\n9,7\n",
    ],
)
def test_points_that_napari_saved_are_rows_and_columns(tmp_path: Path, text: str) -> None:
    (tmp_path / "points.csv").write_text(text)
    assert positions(read_coordinates(tmp_path / "points.csv")) == [(100.25, 250.5), (9, 7)]


def test_a_particle_list_has_what_relion_asks_for(tmp_path: Path, some_picks) -> None:
    """ObservationModel (src/jaz/single_particle/obs_model.cpp): voltage, Cs and a pixel size in data_optics."""
    made = FORMATS["particles"]
    optics = {"rlnOpticsGroupName": "grid1", "rlnVoltage": "200.000000", "rlnSphericalAberration": "1.4",
              "rlnAmplitudeContrast": "0.07", "rlnMicrographOriginalPixelSize": "0.5"}  # fmt: skip
    ctf = {"rlnDefocusU": "15000.1", "rlnDefocusV": "14000.2", "rlnDefocusAngle": "33"}
    first = PicksInfo(1.5, 64, (), "a.mrc", (400, 400), optics=optics, ctf=ctf)
    second = PicksInfo(1.5, 64, (), "b.mrc", (400, 400), optics=optics, ctf=ctf | {"rlnDefocusU": "9000"})
    third = PicksInfo(1.5, 64, (), "c.mrc", (400, 400), optics=optics | {"rlnOpticsGroupName": "grid2"}, ctf=ctf)
    made.write_set(tmp_path / "p.star", [(some_picks, info) for info in (first, second, third)])
    tables = read_tables(tmp_path / "p.star")
    assert tables["optics"]["rlnOpticsGroupName"] == ["grid1", "grid2"]
    assert (
        tables["optics"]["rlnVoltage"] == ["200.000000"] * 2
        and tables["optics"]["rlnAmplitudeContrast"] == ["0.07"] * 2
    )
    n = len(some_picks)
    assert tables["particles"]["rlnOpticsGroup"] == ["1"] * 2 * n + ["2"] * n
    assert tables["particles"]["rlnDefocusU"] == ["15000.1"] * n + ["9000"] * n + ["15000.1"] * n
    made.write(tmp_path / "q.star", some_picks, PicksInfo(1.5, 64, (), "a.mrc", (400, 400)))
    plain = read_tables(tmp_path / "q.star")
    assert {"rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnMicrographPixelSize"} <= plain[
        "optics"
    ].keys()
    assert plain["optics"]["rlnVoltage"] == ["300"] and "rlnDefocusU" not in plain["particles"]


def test_options_reach_every_reader(tmp_path: Path, some_picks) -> None:
    """A set read with default options is the same as with options that do not concern it."""
    for name, made in FORMATS.items():
        path = tmp_path / f"m{made.suffix}"
        made.write(path, some_picks, PicksInfo(1.5, 64, ("a",), "m.mrc", (400, 400)))
        plain = made.read(path, ReadOptions((400, 400)))
        other = made.read(path, ReadOptions((400, 400), shifts=False, spacing=3.0))
        assert positions(plain) == positions(other) and plain.program == name
