"""Files as other programs write them, typed from their documentation, and what they mean."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from napari_gempick.io.formats import FORMATS, PicksInfo, format_of
from napari_gempick.io.formats.cryosparc import read_exposures
from napari_gempick.io.read_coordinates import CoordinateSet, read_coordinates
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.picks import Picks

TWO = Picks(
    x=np.array([132.0, 10.25]),
    y=np.array([232.0, 20.5]),
    map_x=np.array([132, 10], np.int32),
    map_y=np.array([232, 20], np.int32),
    score=np.array([0.5, 0.25], np.float32),
    k=np.array([-1, -1], np.int32),
    view=np.array([1, 0], np.int32),
    section=np.array([2, 0], np.int32),
    psi=np.array([330.0, 90.0]),
)
INFO = PicksInfo(
    pixel_size=1.5,
    box_size=64,
    view_names=("side", "long top"),
    micrograph="Micrographs/mic 1.mrc",
    shape=(400, 500),
    number=3,
)


def read(path: Path, text: str | bytes, **options: object) -> CoordinateSet:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_coordinates(path, **options)  # type: ignore[arg-type]


def written(folder: Path, name: str) -> str:
    made = FORMATS[name]
    path = folder / ("m" + made.suffix)
    made.write(path, TWO, INFO)
    assert format_of(path) is made or name in ("particles", "gempicker-box")
    return path.read_text()


def assert_picks(found: CoordinateSet, **expected: object) -> None:
    for field, values in expected.items():
        np.testing.assert_array_equal(getattr(found.picks, field), np.array(values), err_msg=field)


def spaced(text: str) -> str:
    """RELION and crYOLO end their lines with a blank."""
    return text.replace("\n", " \n")


RELION_AUTOPICK = """
# version 30001

data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnClassNumber #3
_rlnAnglePsi #4
_rlnAutopickFigureOfMerit #5
  132.000000   232.000000            3   330.000000     0.500000
   10.250000    20.500000            1    90.000000     0.250000

"""


def test_relion_autopick(tmp_path: Path) -> None:
    found = read(tmp_path / "m_autopick.star", spaced(RELION_AUTOPICK))
    assert_picks(found, x=TWO.x, y=TWO.y, section=[2, 0], psi=[330, 90], score=TWO.score)
    assert written(tmp_path, "star") == (
        "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnClassNumber #3\n_rlnAutopickFigureOfMerit #4\n"
        "_rlnAnglePsi #5\n_rlnMicrographPixelSize #6\n_rlnImageSize #7\n"
        "132.000 232.000 3 0.5 330.000 1.5 64\n10.250 20.500 1 0.25 90.000 1.5 64\n\n"
    )


RELION_PARTICLES = """
# version 50001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnImagePixelSize #5
_rlnImageSize #6
opticsGroup1            1     0.885000   200.000000     1.770000          128
opticsGroup2            2     1.000000   200.000000     1.000000           90


# version 50001

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnImageName #3
_rlnMicrographName #4
_rlnOpticsGroup #5
_rlnClassNumber #6
  614.000000  1265.000000 000001@Extract/job007/Micrographs/a.mrcs MotionCorr/job002/Micrographs/a.mrc 1 4
  100.000000   200.000000 000001@Extract/job007/Micrographs/b.mrcs MotionCorr/job002/Micrographs/b.mrc 2 1
"""


def test_relion_particles_with_optics(tmp_path: Path) -> None:
    parts = read(tmp_path / "particles.star", spaced(RELION_PARTICLES)).by_micrograph()
    first, second = parts["MotionCorr/job002/Micrographs/a.mrc"], parts["MotionCorr/job002/Micrographs/b.mrc"]
    assert (first.common("box_size"), first.common("pixel_size")) == (256, 0.885)
    assert (second.common("box_size"), second.common("pixel_size")) == (90, 1)
    assert_picks(first, x=[614], y=[1265], section=[3])
    assert written(tmp_path, "particles") == (
        "\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnMicrographPixelSize #3\n"
        "_rlnImageSize #4\nopticsGroup1 1 1.5 64\n\n"
        "\ndata_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnClassNumber #3\n"
        "_rlnAutopickFigureOfMerit #4\n_rlnAnglePsi #5\n_rlnMicrographName #6\n_rlnOpticsGroup #7\n"
        '132.000 232.000 3 0.5 330.000 "Micrographs/mic 1.mrc" 1\n'
        '10.250 20.500 1 0.25 90.000 "Micrographs/mic 1.mrc" 1\n\n'
    )
    with pytest.raises(InputError, match="an optics group that data_optics lacks"):
        read(tmp_path / "particles.star", RELION_PARTICLES.replace(" 2 1\n", " 7 1\n"))


GAUTOMATCH = """
data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnClassNumber #3
_rlnAnglePsi #4
_rlnAutopickFigureOfMerit #5
   132.00    232.00    2   330.00    0.500
    10.25     20.50    0    90.00    0.250
"""


def test_gautomatch_counts_classes_from_0(tmp_path: Path) -> None:
    found = read(tmp_path / "m_automatch.star", GAUTOMATCH)
    assert_picks(found, x=TWO.x, y=TWO.y, section=[2, 0], psi=[330, 90], score=TWO.score)
    assert_picks(read(tmp_path / "m.star", GAUTOMATCH), section=[1, -1])
    assert_picks(read(tmp_path / "m.star", GAUTOMATCH, format="Gautomatch"), section=[2, 0])
    assert written(tmp_path, "gautomatch").splitlines()[-3:-1] == [
        "132.000 232.000 2 0.5 330.000",
        "10.250 20.500 0 0.25 90.000",
    ]
    hand = read(tmp_path / "m_automatch.star", GAUTOMATCH.replace("    2   330.00    0.500", " -999 -999 -999"))
    assert (hand.picks.section.tolist()[0], np.isnan(hand.picks.psi[0])) == (-1, True)


def test_eman1(tmp_path: Path) -> None:
    found = read(tmp_path / "m.box", "100\t200\t64\t64\n-21\t-11\t63\t63\n")
    assert_picks(found, x=[132, 10], y=[232, 20])
    assert written(tmp_path, "box") == "100\t200\t64\t64\n-22\t-11\t64\t64\n"


def test_eman2(tmp_path: Path) -> None:
    text = '{\n"boxes":[[132,232,"manual"],[10.25,20.5,"auto_ref"]],\n"ctf_frame":[512,1.2],\n"quality":5\n}'
    found = read(tmp_path / "m_info.json", text)
    assert_picks(found, x=TWO.x, y=TWO.y)
    assert found.columns["mode"] == ["manual", "auto_ref"]
    made = json.loads(written(tmp_path, "eman2"))
    assert made == {
        "boxes": [[132, 232, "manual"], [10.25, 20.5, "manual"]],
        "ctf_frame": [512, 1.2],
        "quality": 5,
    }, "what EMAN2 knows of the micrograph stays"
    assert len(read(tmp_path / "n_info.json", '{"quality": 5}').picks) == 0


CBOX = """
data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
100.0 200.0 <NA> 64.0 64.0 <NA> 60.1 59.7 0.5 <NA> <NA>
-21.25 -11.0 <NA> 63.0 63.0 <NA> 60.1 59.7 0.25 <NA> <NA>

data_cryolo_include

loop_
_slice_index #1

"""


def test_cbox(tmp_path: Path) -> None:
    found = read(tmp_path / "m.cbox", spaced(CBOX))
    assert_picks(found, x=[132, 10.25], y=[232, 20.5], score=TWO.score)
    assert found.common("box_size") in (63, 64)
    blocks = written(tmp_path, "cbox").split("\ndata_")
    assert blocks[1] == "global\n\n_cbox_format_version 1.0\n"
    assert blocks[2].splitlines()[-3:] == [
        "100.000 200.000 <NA> 64 64 <NA> <NA> <NA> 0.5 <NA> <NA>",
        "-21.750 -11.500 <NA> 64 64 <NA> <NA> <NA> 0.25 <NA> <NA>",
        "",
    ]
    assert blocks[3] == "cryolo_include\n\nloop_\n_slice_index #1\n\n"


XMIPP = """# XMIPP_STAR_1 *
#
data_header
loop_
 _pickingMicrographState
Supervised
data_particles
loop_
 _itemId
 _enabled
 _xcoor
 _ycoor
 _cost
 _micrographId
 000001   1   132  232  0.5   000001
data_particles_auto
loop_
 _itemId
 _enabled
 _xcoor
 _ycoor
 _cost
 _micrographId
 000002   -1   7  8  0.9   000001
 000003   1   10  21  0.25   000001
"""


def test_xmipp(tmp_path: Path) -> None:
    assert_picks(read(tmp_path / "m.pos", XMIPP), x=[132, 10], y=[232, 21], score=TWO.score)
    by_hand = XMIPP.replace("0.5 ", "0 ").replace("0.25 ", "0 ")
    assert np.isnan(read(tmp_path / "m.pos", by_hand).picks.score).all()
    assert written(tmp_path, "xmipp") == (
        "# XMIPP_STAR_1 *\n#\ndata_header\nloop_\n _pickingMicrographState\nManual\ndata_particles\nloop_\n _itemId\n"
        " _enabled\n _xcoor\n _ycoor\n _cost\n _micrographId\n"
        " 000001   1   132  232  0.5   000003\n 000002   1   10  21  0.25   000003\n"
    )


GEMPICKER = """iPik corrVal X Y boxSize iSch angle2D refName maskName
1 0.500000 232 367 64 3 30 top.mrc circle.mrc
2 0.250000 20.5 488.75 64 1 270 side.mrc circle.mrc
"""


def test_gempicker_is_turned_by_90_degrees(tmp_path: Path) -> None:
    found = read(tmp_path / "m.txt", GEMPICKER, shape=(400, 500))
    assert_picks(found, x=TWO.x, y=TWO.y, score=TWO.score, section=[2, 0], psi=[330, 90], view=[0, 1])
    assert (found.view_names, found.common("box_size")) == (("top.mrc", "side.mrc"), 64)
    assert written(tmp_path, "gempicker") == (
        "iPik\tcorrVal\tX\tY\tboxSize\tiSch\tangle2D\trefName\tmaskName\n"
        "1\t0.5\t232.000\t367.000\t64\t3\t30.000\tlong_top\t-\n2\t0.25\t20.500\t488.750\t64\t1\t270.000\tside\t-\n"
    )
    with pytest.raises(SettingsError, match="need the size of the micrograph; give --shape"):
        read_coordinates(tmp_path / "m.txt")
    with pytest.raises(InputError, match="row 1 has 3 values"):
        read(tmp_path / "m.txt", "iPik corrVal X\n1 2 3\n", shape=(4, 5))


def test_the_boxes_of_gempicker_count_pixels_from_1(tmp_path: Path) -> None:
    found = read(tmp_path / "m.box", "101 201 64 64\n", format="gempicker-box")
    assert_picks(found, x=[132], y=[232])
    assert written(tmp_path, "gempicker-box") == "101\t201\t64\t64\n-21\t-10\t64\t64\n"


TOPAZ = "image_name\tx_coord\ty_coord\tscore\nmic 1\t132\t232\t0.5\nmic 2\t10\t21\t0.25\n"


def test_topaz(tmp_path: Path) -> None:
    for name in ("t.txt", "t.tsv", "t.tab"):
        found = read(tmp_path / name, TOPAZ)
        assert_picks(found, x=[132, 10], y=[232, 21], score=TWO.score)
        assert list(found.by_micrograph()) == ["mic 1", "mic 2"]
    assert written(tmp_path, "topaz") == (
        "image_name\tx_coord\ty_coord\tscore\nmic 1\t132\t232\t0.5\nmic 1\t10\t21\t0.25\n"
    )


def test_tables(tmp_path: Path) -> None:
    text = "micrograph,x,y,score,view,psi,template,box_size\na b/m.mrc,132,232,0.5,long top,330,3,64\n"
    for name, shown in (("t.csv", text), ("t.tsv", text.replace(",", "\t")), ("t.txt", text.replace(",", ";"))):
        found = read(tmp_path / name, shown).by_micrograph()["a b/m.mrc"]
        assert_picks(found, x=[132], y=[232], score=[0.5], section=[2], psi=[330])
        assert (found.view_names, found.common("box_size")) == (("long top",), 64)
    assert written(tmp_path, "csv") == (
        "x,y,score,view,psi,template,box_size\n"
        "132.000,232.000,0.5,long top,330.000,3,64\n10.250,20.500,0.25,side,90.000,1,64\n"
    )
    assert written(tmp_path, "tsv").splitlines()[1] == "132.000\t232.000\t0.5\tlong top\t330.000\t3\t64"


CS_FIELDS = (
    "[('uid', '<u8'), ('location/micrograph_uid', '<u8'), ('location/exp_group_id', '<u4'), "
    "('location/micrograph_path', 'S20'), ('location/micrograph_shape', '<u4', (2,)), "
    "('location/center_x_frac', '<f4'), ('location/center_y_frac', '<f4'), ('pick_stats/ncc_score', '<f4'), "
    "('pick_stats/template_idx', '<u4'), ('pick_stats/angle_rad', '<f4')]"
)


def npy(fields: str, rows: list[bytes]) -> bytes:
    """A NumPy file after the format's description: magic, version 1.0, header length, header, rows."""
    header = f"{{'descr': {fields}, 'fortran_order': False, 'shape': ({len(rows)},), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"".join(rows)


def cs_row(uid: int, path: bytes, x: float, y: float, score: float, template: int, angle: float) -> bytes:
    return struct.pack("<QQI20s2IfffIf", uid, 77, 4, path, 400, 500, x, y, score, template, angle)


def test_cryosparc_picks(tmp_path: Path) -> None:
    """center_y_frac * ny is the row in the file, though cryoSPARC shows row 0 at the bottom."""
    rows = [cs_row(11, b">J2/m 1.mrc", 0.25, 0.75, 0.5, 2, np.pi / 2), cs_row(12, b"J2/n.mrc", 0.0, 0.5, 0.25, 0, 0.0)]
    parts = read(tmp_path / "p.cs", npy(CS_FIELDS, rows)).by_micrograph()
    assert list(parts) == ["J2/m 1.mrc", "J2/n.mrc"]
    first = parts["J2/m 1.mrc"]
    assert_picks(first, x=[125], y=[300], score=[0.5], section=[2])
    assert first.picks.psi == pytest.approx([90])
    assert [first.common(name) for name in ("uid", "micrograph_uid", "exposure_group", "shape")] == [
        11,
        77,
        4,
        [400, 500],
    ]
    assert_picks(parts["J2/n.mrc"], x=[0], y=[200], section=[0], psi=[0])


def test_cryosparc_fields_as_written(tmp_path: Path) -> None:
    info = PicksInfo(
        micrograph="J2/m.mrc", shape=(400, 500), micrograph_uid=2**63 + 5, exposure_group=3, uids=np.array([7, 8], "u8")
    )
    FORMATS["cs"].write(tmp_path / "p.cs", TWO, info)
    rows = np.load(tmp_path / "p.cs", allow_pickle=False)
    assert rows.dtype.descr == [
        ("uid", "<u8"),
        ("location/micrograph_uid", "<u8"),
        ("location/exp_group_id", "<u4"),
        ("location/micrograph_path", "|S8"),
        ("location/micrograph_shape", "<u4", (2,)),
        ("location/center_x_frac", "<f4"),
        ("location/center_y_frac", "<f4"),
        ("pick_stats/ncc_score", "<f4"),
        ("pick_stats/power", "<f4"),
        ("pick_stats/template_idx", "<u4"),
        ("pick_stats/angle_rad", "<f4"),
    ]
    assert (rows["uid"].tolist(), rows["location/micrograph_uid"].tolist()) == ([7, 8], [2**63 + 5] * 2)
    np.testing.assert_array_equal(rows["location/micrograph_shape"], [[400, 500]] * 2)
    np.testing.assert_array_equal(rows["location/center_x_frac"], np.float32(TWO.x / 500))
    np.testing.assert_array_equal(rows["location/center_y_frac"], np.float32(TWO.y / 400))
    np.testing.assert_allclose(rows["pick_stats/angle_rad"], np.deg2rad([330, 90]), rtol=1e-6)
    assert rows["pick_stats/template_idx"].tolist() == [2, 0]


def test_cryosparc_exposures(tmp_path: Path) -> None:
    fields = (
        "[('uid', '<u8'), ('micrograph_blob/path', 'S20'), ('micrograph_blob/shape', '<u4', (2,)), "
        "('micrograph_blob/psize_A', '<f4'), ('mscope_params/exp_group_id', '<u4')]"
    )
    rows = [struct.pack("<Q20s2IfI", 77, b"J2/000077_m.mrc", 400, 500, 1.5, 4)]
    (tmp_path / "e.cs").write_bytes(npy(fields, rows))
    (one,) = read_exposures(tmp_path / "e.cs")
    assert (one.path, one.shape, one.pixel_size, one.uid, one.group) == ("J2/000077_m.mrc", (400, 500), 1.5, 77, 4)
    with pytest.raises(InputError, match="a table of micrographs without picks; give it with --micrographs"):
        read_coordinates(tmp_path / "e.cs")
    (tmp_path / "p.cs").write_bytes(npy(CS_FIELDS, []))
    with pytest.raises(InputError, match=r"lacks micrograph_blob/path, micrograph_blob/shape"):
        read_exposures(tmp_path / "p.cs")


class Unpickled:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path("unpickled").touch, ())


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.zeros(1, dtype=[("uid", "<u8"), ("location/micrograph_path", "O")])
    rows["location/micrograph_path"] = Unpickled()
    with (tmp_path / "p.cs").open("wb") as stream:
        np.save(stream, rows, allow_pickle=True)
    for content in ((tmp_path / "p.cs").read_bytes(), b"\x94CSDAT", b"", b"text\n", npy("'<f4'", [b"\0\0\0\0"])):
        with pytest.raises(InputError, match=r"p\.cs (is no|holds no)"):
            read(tmp_path / "p.cs", content)
    assert not (tmp_path / "unpickled").exists()
