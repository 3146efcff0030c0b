"""Names from files and of files: they never leave the output folder, and a bad one fails alone."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import starfile

from napari_gempick.io.names import check_micrograph_name, check_name, is_below, printable, reduced
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import InputError

OUTSIDE = ("../../escaped", "/tmp/escaped_abs", "a/../../../escaped", "..\\..\\escaped", "C:/escaped")
ROW = "data_\nloop_\n_rlnMicrographName\n_rlnCoordinateX\n_rlnCoordinateY\n"


def below(folder):
    """Every file there is, and that none is outside `folder`."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def cs(path, name):
    fields = [("uid", "<u8"), ("location/micrograph_uid", "<u8"), ("location/micrograph_path", "S80"),
              ("location/micrograph_shape", "<u4", (2,)), ("location/center_x_frac", "<f4"),
              ("location/center_y_frac", "<f4")]  # fmt: skip
    rows = np.zeros(1, fields)
    rows["location/micrograph_path"], rows["location/micrograph_shape"] = name.encode(), (100, 100)
    np.save(path.open("wb"), rows)


@pytest.mark.parametrize("kind", ["csv", "star", "cs"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_converted_coordinates_stay_in_the_output_folder(tmp_path, gempick, monkeypatch, name, kind):
    work = tmp_path / "a/b/c/work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    names = (f"{name}.mrc", "plain/other.mrc")
    if kind == "csv":
        Path("in.csv").write_text("micrograph,x,y\n" + "".join(f"{one},1,2\n" for one in names))
    elif kind == "star":
        Path("in.star").write_text(ROW + "".join(f"{one} 1 2\n" for one in names))
    else:
        cs(Path("in.cs"), names[0])
    for to in ("csv", "box", "star", "eman2"):
        gempick("convert", f"in.{kind}", f"out_{to}", "--to", to, "--box", 10, check=0)
    written = below(tmp_path)
    assert all(one.startswith("a/b/c/work/") for one in written), written
    assert not Path("/tmp/escaped_abs_autopick.star").exists() and not Path("/tmp/escaped_abs.csv").exists()
    assert sum("escaped" in one for one in written) == 4


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped_abs", "a/../../escaped"])
@pytest.mark.parametrize("command", ["retune", "report", "convert", "evaluate"])
def test_a_run_that_names_files_outside_is_refused(data, gempick, basic, command, name):
    gempick("pick", "grid1", *basic, "-o", "deep/out", check=0)
    run = json.loads(Path("deep/out/run.json").read_text())
    run["micrographs"][0]["name"] = name
    Path("deep/out/run.json").write_text(json.dumps(run))
    before = below(data)
    arguments = {
        "retune": ("retune", "deep/out", "--threshold", 0.6),
        "report": ("report", "deep/out", "-o", "deep/page"),
        "convert": ("convert", "deep/out", "deep/other", "--to", "csv"),
        "evaluate": ("evaluate", "deep/out", "deep/out", "--tolerance", 3),
    }[command]
    done = gempick(*arguments)
    assert "Traceback" not in done.stderr
    if command != "evaluate":  # which takes run.json as a hint only
        assert done.returncode == 2 and "micrographs.0.name: the name" in done.stderr
        assert "leads out of the folder" in done.stderr
        assert below(data) == before


BAD = {"newline": "a\nb", "return": "a\rb", "escape": "a\x1b[31mb", "tab": "a\tb", "bytes": os.fsdecode(b"a\xff\xfeb"),
       "long": "x" * 240, "next line": "a\x85b", "separator": "a\u2028b"}  # fmt: skip


def test_micrographs_with_bad_names_fail_alone(data, gempick, basic):
    for name in BAD.values():
        shutil.copyfile("grid2/other.mrc", f"grid1/{name}.mrc")
    done = gempick("pick", "grid1", *basic, "-o", "out", check=1, own_process=True)
    assert done.stderr.count("; rename it") >= len(BAD) - 1 and "give it a name of at most 231 bytes" in done.stderr
    run = json.loads(Path("out/run.json").read_bytes().decode("utf-8"))
    assert sorted("error" in row for row in run["micrographs"]) == [False, *[True] * len(BAD)]
    assert len(starfile.read("out/autopick.star")["rlnMicrographName"]) == 1
    again = gempick("retune", "out", "--threshold", 0.6)
    assert "Traceback" not in again.stderr and again.returncode in (0, 1)
    exported = gempick("job", "export", "grid1", *basic, "-o", "job", own_process=True)
    assert exported.returncode == 1, exported.stderr
    job = json.loads(Path("job/job.json").read_bytes().decode("utf-8"))
    assert [Path(row["path"]).name for row in job["micrographs"]] == ["mic.mrc"]


def test_an_output_folder_that_vanishes_is_an_error(data, gempick, basic, monkeypatch):
    """The first micrograph's files are removed while the last one is searched."""
    from napari_gempick.workflows import pick as module

    finish = module.finish_micrograph

    def removed(results, micrograph, outcome, prover):
        row = finish(results, micrograph, outcome, prover)
        if outcome.number == 1:
            for path in list((data / "out").rglob("*.star")):
                path.unlink()
        return row

    monkeypatch.setattr(module, "finish_micrograph", removed)
    done = gempick("pick", "grid1", "grid2", *basic, "-o", "out", check=2)
    assert "files of this run have vanished from out" in done.stderr and "--resume" in done.stderr
    monkeypatch.undo()
    os.chdir(data)
    run = json.loads(gempick("pick", "grid1", "grid2", *basic, "-o", "out", "--resume", "--json", check=0).stdout)
    assert len(run["micrographs"]) == 3 and all("error" not in row for row in run["micrographs"])


def test_resuming_keeps_the_proof_of_what_is_done(data, gempick, basic):
    """A run that was killed has no lines in run.json; they are made again from the files, with their proof."""
    gempick("pick", "grid1", "grid2", *basic, "-o", "out", check=0)
    whole = json.loads(Path("out/run.json").read_text())
    killed = {**whole, "state": "running", "micrographs": []}
    Path("out/run.json").write_text(json.dumps(killed))
    gempick("pick", "grid1", "grid2", *basic, "-o", "out", "--resume", check=0)
    again = json.loads(Path("out/run.json").read_text())
    for row, before in zip(again["micrographs"], whole["micrographs"], strict=True):
        assert row["proof"].keys() == before["proof"].keys() == {"star"}


def test_overwriting_removes_what_the_earlier_run_wrote_and_nothing_else(data, gempick, basic):
    gempick("pick", "grid1", "grid2", *basic, "--format", "star,box,csv", "--save-maps", "-o", "out", check=0)
    for mine in ("out/notes.txt", "out/grid2/mine_autopick.star", "out/maps/own.mrc", "out/grid2/.tmp-killed"):
        Path(mine).write_text("mine")
    gempick("pick", "grid1", "grid2/mic.mrc", *basic, "-o", "out", "--overwrite", check=0)
    assert below(data / "out") == [
        "autopick.star",
        "candidates/grid1/mic.star",
        "candidates/grid2/mic.star",
        "gempick.log",
        "grid1/mic_autopick.star",
        "grid2/mic_autopick.star",
        "grid2/mine_autopick.star",
        "maps/own.mrc",
        "notes.txt",
        "run.json",
    ]


def test_names() -> None:
    for name in ("a b/ü.mrc", "it's", "中文"):
        check_name(name)
        assert printable(name) == name
    for name in BAD.values():
        if len(name) < 200:
            with pytest.raises(InputError, match="; rename it"):
                check_name(name)
            printable(name).encode("utf-8")
            assert "\n" not in printable(name) and "\x1b" not in printable(name)
    check_micrograph_name("a" * 231 + ".mrc", "a" * 231)
    with pytest.raises(InputError, match="232 bytes"):
        check_micrograph_name("ü" * 116 + ".mrc", "ü" * 116)
    assert [reduced(name) for name in ("../../x", "/a/b", "a/../b", "C:\\x\\y", "..", "")] == [
        "x", "a/b", "a/b", "x/y", "unnamed", "unnamed"]  # fmt: skip
    assert [is_below(name) for name in ("a", "a/b", "../a", "/a", "a/../b", "", "..\\a")] == [True] * 2 + [False] * 5


def test_the_terminal_is_not_written_to(data, gempick, basic):
    """An escape sequence in a name reaches neither the terminal nor a file."""
    os.rename("grid2/other.mrc", "grid1/\x1b]0;owned\x07.mrc")
    done = gempick("pick", "grid1", *basic, "-o", "out", check=1, own_process=True)
    assert "\x1b" not in done.stderr + done.stdout and b"\x1b" not in Path("out/run.json").read_bytes()


def test_a_template_of_any_name(data, gempick):
    write_mrc("my = template, 2.mrc", np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32), 2.0)
    gempick("pick", "grid1", "--templates", "p=my = template, 2.mrc", "--angle-step", 60, "-o", "out", check=0)
