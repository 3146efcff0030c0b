"""Files as EMAN, gEMpicker and Topaz write them, typed from their documentation, and tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from literal import TWO, assert_picks, read, written

from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.model.errors import InputError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


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
        "gempick_micrograph": "Micrographs/mic 1.mrc",
    }, "what EMAN2 knows of the micrograph stays"
    assert len(read(tmp_path / "n_info.json", '{"quality": 5}').picks) == 0


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
