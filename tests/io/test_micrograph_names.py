"""Names in coordinate files find their micrographs by path, by stem and by table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_gempick.io.micrograph_names import Micrographs, read_name_table, shown, stems_below
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("grid 1/mic.mrc", "grid2/mic.mrc", "grid2/other.mrc"):
        write_mrc(tmp_path / "mics" / name, np.zeros((8, 6), np.float32), 1.5)
    return tmp_path / "mics"


def found(micrographs: Micrographs, *parts: str) -> str | None:
    known = micrographs.find(parts)
    return None if known is None else known.stem


def test_by_path_and_by_stem(folder: Path) -> None:
    micrographs = Micrographs(folder)
    assert [found(micrographs, *parts) for parts in (("grid 1", "mic"), ("Job1", "grid2", "mic"), ("other",))] == [
        "grid 1/mic",
        "grid2/mic",
        "grid2/other",
    ]
    assert found(micrographs, "nothing") is None
    with pytest.raises(
        InputError, match=r"mic can mean .*grid 1/mic\.mrc as well as .*grid2/mic\.mrc; keep the folders"
    ):
        found(micrographs, "mic")
    assert found(micrographs, "J2", "imported", "012345678901234567890_other") == "grid2/other"
    (known,) = [one for one in micrographs.all if one.stem == "grid2/other"]
    assert known.size() == (8, 6)


def test_cryosparc_names_lose_their_number(tmp_path: Path) -> None:
    rows = np.zeros(2, [("uid", "<u8"), ("micrograph_blob/path", "S60"), ("micrograph_blob/shape", "<u4", (2,))])
    rows["uid"] = [5, 6]
    rows["micrograph_blob/path"] = [b"J1/imported/012345678901234567890_a b.mrc", b"J1/imported/other.mrc"]
    rows["micrograph_blob/shape"] = [[4, 5], [6, 7]]
    with (tmp_path / "e.cs").open("wb") as stream:
        np.save(stream, rows)
    known = Micrographs(tmp_path / "e.cs").find(("a b",))
    assert known is not None
    assert (known.uid, known.shape, known.stem) == (5, (4, 5), "012345678901234567890_a b")


def test_a_table_of_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,micrograph\npicks/one.box,mics/a b.mrc\ntwo,c.mrc\n")
    table = read_name_table(tmp_path / "t.csv")
    assert (table["picks/one.box"], table["one"], table["two"]) == ("mics/a b.mrc", "mics/a b.mrc", "c.mrc")
    (tmp_path / "t.csv").write_text("from,to\n1,2\n")
    with pytest.raises(InputError, match="has no columns name and micrograph"):
        read_name_table(tmp_path / "t.csv")


def test_stems_keep_what_differs() -> None:
    assert stems_below(["a/b/m 1.mrc", "a/c/m 1.mrc"]) == {"a/b/m 1.mrc": "b/m 1", "a/c/m 1.mrc": "c/m 1"}
    assert stems_below(["/data/x/m.tif", "b/n.mrc.gz"]) == {"/data/x/m.tif": "data/x/m", "b/n.mrc.gz": "b/n"}
    assert (stems_below(["m.mrc"]), stems_below([])) == ({"m.mrc": "m"}, {})


def test_paths_below_the_current_folder_are_shown_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (shown(tmp_path / "a" / "b.mrc"), shown(Path("/elsewhere/b.mrc"))) == ("a/b.mrc", "/elsewhere/b.mrc")
