"""Folders, lists and single files of coordinates in any format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_gempick.io.coordinates import PICK_FILES, find_files, read_entries
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.formats.relion import write_autopick_index
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.model.picks import Picks


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
    write_set = FORMATS["cs"].write_set
    assert write_set is not None
    write_set(tmp_path / "p.cs", [(some_picks, info[0]), (some_picks.take(np.array([1])), info[1])])
    entries, whole, *_ = read_entries(tmp_path / "p.cs", PICK_FILES)
    assert [(entry.name, len(entry.found.picks)) for entry in entries] == [("x/m", 3), ("y/m", 1)]
    assert whole
