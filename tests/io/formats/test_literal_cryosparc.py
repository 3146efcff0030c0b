"""Tables as cryoSPARC writes them, byte by byte after NumPy's description of the format."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from literal import TWO, assert_picks, read

from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.cryosparc import read_exposures
from napari_gempick.model.errors import InputError

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
    with pytest.raises(InputError, match=r"does not have micrograph_blob/path, micrograph_blob/shape"):
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
        with pytest.raises(InputError, match=r"p\.cs (is not a|does not hold a|is a compressed)"):
            read(tmp_path / "p.cs", content)
    assert not (tmp_path / "unpickled").exists()
