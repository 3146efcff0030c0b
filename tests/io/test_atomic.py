from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from napari_gempick.io.atomic import _host, atomic_path, sweep, write_text
from napari_gempick.model.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "picks.star"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["picks.star"]


def test_missing_folders_are_made_and_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "new.txt"
    write_text(path, "é\n")
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert path.read_bytes() == "é\n".encode()
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_name_that_is_no_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", os.fsdecode(b"m\xe9.mrc\n"))
    assert (tmp_path / "a.txt").read_bytes() == b"m\xe9.mrc\n"


def test_a_folder_that_cannot_be_made_is_one_sentence_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"Cannot write .*out\.txt") as caught:
        write_text(tmp_path / "file" / "out.txt", "x")
    assert caught.value.path == str(tmp_path / "file" / "out.txt")


def test_a_folder_in_the_place_of_the_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match="taken"):
        write_text(tmp_path / "taken", "x")
    assert os.listdir(tmp_path) == ["taken"]


def test_what_a_living_process_writes_is_not_swept_away(tmp_path: Path) -> None:
    """The window saves its session in the folder that a search of another process has just begun to clean."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours = f".tmp-{gone.pid}-{_host()}"
    names = (f"{ours}-abc.star", ".tmp-old.json", f"{ours}-folder/a")
    left = [tmp_path / name for name in names]
    for path in left:
        write_text(path, "half")
    with atomic_path(tmp_path / "session.json") as temporary:
        temporary.write_text("whole")
        sweep(tmp_path)
    assert os.listdir(tmp_path) == ["session.json"] and (tmp_path / "session.json").read_text() == "whole"


def test_unfinished_files_of_other_computers_are_removed_when_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that no process has here may be that of a living process elsewhere."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("napari_gempick.io.atomic._host", lambda: "000000")
        elsewhere.setattr(os, "getpid", lambda: 2**22 + 1)
        with atomic_path(tmp_path / "picks.star") as temporary:
            elsewhere.undo()
            sweep(tmp_path)
            assert temporary.exists()
            os.utime(temporary, (0, 0))
            sweep(tmp_path)
            assert not temporary.exists()
            temporary.write_text("")
