"""gempick pick and retune as a user runs them."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest

import forked_python
from helpers import upside_down
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.stack import write_mrc

ALL = ("grid1", "grid2")


def test_outputs_and_positions(data, gempick, basic, planted):
    done = gempick("pick", *ALL, *basic, "--save-maps", "--format", "star,box,csv", "-o", "out", "--json", check=0)
    run = json.loads(done.stdout)
    assert run == json.loads((data / "out/run.json").read_text())
    assert run["state"] == "complete" and [row["picks"] for row in run["micrographs"]] == [4, 4, 4]
    picks = read_coordinates(data / "out/grid1/mic_autopick.star").picks
    for (x, y), psi in planted.items():
        i = np.hypot(picks.x - x, picks.y - y).argmin()
        assert np.hypot(picks.x[i] - x, picks.y[i] - y) < 0.6
        assert abs((picks.psi[i] - psi + 180) % 360 - 180) <= 15
    for name in ("grid1/mic", "grid2/mic", "grid2/other"):
        for suffix in ("_autopick.star", ".box", ".csv"):
            assert (data / f"out/{name}{suffix}").exists()
        with mrcfile.open(data / f"out/maps/{name}_ncc.mrc") as maps:
            assert maps.data.shape == (250, 260) and maps.data.dtype == np.float32
            assert maps.voxel_size.x == pytest.approx(2.0)
            best = maps.data.max()
        candidates = read_candidates(data / f"out/candidates/{name}.star")
        assert candidates.picks.score[0] == best
    index = mrcfile.read(data / "out/maps/grid1/mic_index.mrc")
    assert set(np.unique(index)) <= set(range(-1, 24))
    text = (data / "out/autopick.star").read_text()
    assert "data_coordinate_files" in text and text.count("out/grid2/") == 2
    assert run["search_images"]["psi"][:3] == [0, 15, 30]
    assert not list(data.glob("out/**/.tmp-*"))


def test_same_bytes_whatever_shares_the_work(data, gempick, basic, contents):
    """One thread, four, two logical devices, micrographs permuted: separate processes with the stored plan."""
    where = ["grid1/mic.mrc", "grid2/mic.mrc", "grid2/other.mrc"]
    runs = {
        "single": (where, "--threads", 1),
        "four": (where, "--threads", 4),
        "devices": (where, "--devices", "cpu,cpu", "--threads", 2),
        "permuted": (where[::-1], "--threads", 2),
    }
    results = []
    for name, (micrographs, *how) in runs.items():
        folder = data / name / "out"
        gempick(
            "pick", *micrographs, *basic, "--lowpass", 8, "--save-maps", "-o", folder, *how, check=0, own_process=True
        )
        (folder / "autopick.star").write_text((folder / "autopick.star").read_text().replace(name, "NAME"))
        results.append(contents(folder))
    assert len(results[0]) == 19
    for result in results[1:]:
        assert result == results[0]


def test_config_reproduces_a_run(data, gempick, basic, contents):
    gempick("pick", "grid1", *basic, "--min-distance", 77, "--max-picks", 3, "-o", "out", check=0)
    gempick("pick", "grid1", "--config", "out/run.json", "-o", "again", check=0)
    first, again = contents(data / "out"), contents(data / "again")
    again["autopick.star"] = again["autopick.star"].replace(b"again", b"out")
    assert first == again


def test_retune_equals_picking_anew(data, gempick, basic, contents):
    changed = ("--threshold", 0.7, "--min-distance", 150, "--max-threshold", 0.95)
    gempick("pick", *ALL, *basic, "-o", "out", check=0)
    gempick("retune", "out", *changed, check=0)
    gempick("pick", *ALL, *basic, *changed, "-o", "anew", check=0)
    out, anew = contents(data / "out"), contents(data / "anew")
    anew["autopick.star"] = anew["autopick.star"].replace(b"anew", b"out")
    assert out == anew
    done = gempick("retune", "out", "--threshold", 0.05, check=2)
    assert "0.1 only" in done.stderr and "--candidate-floor" in done.stderr
    assert contents(data / "out") == anew, "nothing was changed"


def test_existing_output_is_never_overwritten_unasked(data, gempick, basic, contents):
    gempick("pick", "grid1", *basic, "-o", "out", check=0)
    before = contents(data / "out", without=())
    done = gempick("pick", "grid1", *basic, "-o", "out", check=2)
    assert "--resume" in done.stderr and "--overwrite" in done.stderr
    done = gempick("pick", "grid1", *basic, "--lowpass", 12, "-o", "out", "--resume", check=2)
    assert "--lowpass" in done.stderr
    assert contents(data / "out", without=()) == before
    gempick("pick", "grid1", *basic, "--lowpass", 12, "-o", "out", "--overwrite", check=0)
    assert contents(data / "out", without=()) != before


def test_resume_does_only_what_is_missing(data, gempick, basic, contents):
    gempick("pick", *ALL, *basic, "-o", "out", check=0)
    whole = contents(data / "out")
    (data / "out/grid2/mic_autopick.star").unlink()
    stamp = (data / "out/grid1/mic_autopick.star").stat().st_mtime_ns
    run = json.loads(gempick("pick", *ALL, *basic, "-o", "out", "--resume", "--json", check=0).stdout)
    assert (data / "out/grid1/mic_autopick.star").stat().st_mtime_ns == stamp
    assert contents(data / "out") == whole and len(run["micrographs"]) == 3


def test_killed_at_any_moment_leaves_no_half_file(data, gempick, basic, contents, plan_cache):
    env = {**os.environ, "GEMPICK_CACHE": str(plan_cache)}

    def start(*more):
        words = forked_python.words("-m", "napari_gempick", "pick", *ALL, *basic, "--save-maps", "-o", *more)
        return subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)

    begun = time.monotonic()
    start("whole").communicate()
    whole, took = contents(data / "whole"), time.monotonic() - begun
    for share in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9):
        process = start("out", "--overwrite")
        time.sleep(share * took)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for name, content in contents(data / "out").items() if (data / "out").exists() else ():
            if (
                not any(part.startswith((".tmp-", ".gempick.lock")) for part in name.split("/"))
                and name != "autopick.star"
            ):
                assert content == whole[name], name
        run = data / "out/run.json"
        if run.exists():
            assert json.loads(run.read_text())["state"] in ("running", "complete", "stopped")
    gempick("pick", *ALL, *basic, "--save-maps", "-o", "out", "--resume" if run.exists() else "--overwrite", check=0)
    final = contents(data / "out")  # what killed runs left is gone
    final["autopick.star"] = final["autopick.star"].replace(b"out/", b"whole/")
    assert final == whole


def spoilt(data, how):
    """One bad micrograph; returns its path."""
    path = data / "grid1" / "bad.mrc"
    good = np.random.default_rng(9).standard_normal((250, 260)).astype(np.float32)
    if how == "missing":
        return path
    if how == "constant":
        good[:] = 7
    elif how == "tiny":
        good = good[:40, :40]
    write_mrc(path, good, {"nanometres": 0.2 / 10, "no pixel size": 0.0}.get(how, 2.0))
    if how in ("nan", "inf"):
        with path.open("r+b") as stream:  # our writer would warn
            stream.seek(1024 + 4 * (3 * 260 + 4))
            stream.write(np.float32(how).tobytes())
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif how == "text":
        path.write_text("not an image\n" * 200)
    return path


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("missing", "bad.mrc"),
        ("truncated", "truncated"),
        ("constant", "constant"),
        ("nan", "NaN or infinite"),
        ("inf", "--bad-pixels"),
        ("tiny", "larger than the micrograph"),
        ("nanometres", "--pixel-size"),
        ("no pixel size", "--pixel-size"),
        ("text", "neither an MRC nor a TIFF"),
    ],
)
def test_a_bad_micrograph_is_one_sentence_and_the_others_are_done(data, gempick, basic, how, words):
    path = spoilt(data, how)
    done = gempick("pick", "grid1/mic.mrc", path, "grid2/mic.mrc", *basic, "-o", "out", check=1)
    lines = [line for line in done.stderr.splitlines() if "bad.mrc" in line]
    assert len(lines) == 1 and words in lines[0] and len(lines[0]) < 400
    run = json.loads((data / "out/run.json").read_text())
    assert ["error" in row for row in run["micrographs"]] == [False, True, False]
    assert (data / "out/grid2/mic_autopick.star").exists() and not (data / "out/grid1/bad_autopick.star").exists()
    alone = gempick("pick", path, *basic, "-o", "alone", check=2)
    assert words in alone.stderr and "Traceback" not in alone.stderr
    shown = gempick("pick", path, *basic, "-o", "shown", "--debug", check=2)
    assert words in shown.stderr and "Traceback (most recent call last)" in shown.stderr


def test_replaced_pixels_are_said(data, gempick, basic):
    path = spoilt(data, "nan")
    done = gempick("pick", path, *basic, "--bad-pixels", "replace", "-o", "out", check=0)
    assert "1 NaN or infinite pixel was replaced" in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--templates", "nothere.mrc"], "nothere.mrc"),
        (["--mask", "particle=zero.mrc"], "empty"),
        (["--mask", "other=circle:50"], "no view 'other'"),
        (["--mask", "circle:9000"], "larger than the template"),
        (["--threshold", "high"], "--threshold"),
        (["--threshold", "top=0.4"], "no view 'top'"),
        (["--threshold", "1.4"], "between -1 and 1"),
        (["--lowpass", "-5"], "--lowpass"),
        (["--grid", "0.5"], "--grid"),
        (["--angle-range", "0"], "--angle-range"),
        (["--devices", "cuda:77"], "cuda:77"),
        (["--devices", "abacus"], "--devices"),
        (["--format", "docx"], "--format docx"),
        (["--exclude", "nothere.mrc"], "nothere.mrc"),
        (["--template-pixel-size", "0"], "--template-pixel-size"),
        (["--config", "nothere.json"], "nothere.json"),
        (["--overwrite", "--resume"], "--resume"),
    ],
)
def test_wrong_settings_are_one_sentence(data, gempick, basic, change, words):
    write_mrc(data / "zero.mrc", np.zeros((88, 88), np.float32), 2.0)
    arguments = list(basic)
    for flag in [word for word in change if word.startswith("--")]:
        if flag in arguments:
            at = arguments.index(flag)
            del arguments[at : at + 2]
    done = gempick("pick", "grid1/mic.mrc", *arguments, *change, "-o", "out", check=2)
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(errors) == 1 and words in errors[0]
    assert not list(data.glob("out/**/*_autopick.star"))


def test_unwritable_output(data, gempick, basic):
    (data / "file").write_text("in the way")
    done = gempick("pick", "grid1", *basic, "-o", "file", check=2)
    assert "file" in done.stderr
    done = gempick("pick", "grid1", *basic, "-o", "file/below", check=2)
    assert "Cannot write" in done.stderr
    done = gempick("pick", "grid1", *basic, "-o", "/proc/nowhere", check=2)
    assert "/proc/nowhere" in done.stderr


def test_several_values_after_one_option(data, gempick):
    done = gempick(
        *("pick", "grid1", "--templates", "a=particle.mrc", "b=mask.mrc", "--mask", "a=circle:130", "b=circle:160"),
        *("--threshold", "a=0.5", "b=0.9", "--angle-step", 90, "-o", "out", "--json"),
        check=0,
    )
    run = json.loads(done.stdout)
    assert [view["name"] for view in run["views"]] == ["a", "b"]
    assert run["settings"]["threshold"] == ["a=0.5", "b=0.9"]


def test_opposite_contrast_and_exclusion(data, gempick, basic):
    bright = -mrcfile.read("particle.mrc")
    write_mrc(data / "bright.mrc", bright, 2.0)
    excluded = np.zeros((250, 260), np.int8)
    excluded[:120, :120] = 1
    write_mrc(data / "excluded.mrc", excluded, 2.0)
    arguments = ["particle=bright.mrc" if word == "particle=particle.mrc" else word for word in basic]
    same = json.loads(gempick("pick", "grid1", *arguments, "-o", "a", "--json", check=0).stdout)
    assert same["micrographs"][0]["picks"] == 0
    more = ("--contrast", "opposite", "--exclude", "excluded.mrc", "-o", "b", "--json")
    other = json.loads(gempick("pick", "grid1", *arguments, *more, check=0).stdout)
    assert other["micrographs"][0]["picks"] == 3


def test_help_names_units_and_defaults(gempick):
    text = " ".join(gempick("pick", "--help", check=0).stdout.split())
    for words in (
        "[Å]",
        "Default: auto, as fine as",
        "1 to 15. [degrees]",
        "[default: 0.4]",
        "circle:D|ellipse:AxB|rectangle:AxB|auto",
    ):
        assert words in text
    for command in ("pick", "retune", "evaluate", "simulate", "devices"):
        assert command in gempick("--help", check=0).stdout
        assert gempick(command, "--help", check=0).stdout.startswith("Usage: ")


def test_devices(gempick):
    machine = json.loads(gempick("devices", "--json", check=0, env={"OMP_NUM_THREADS": "1"}).stdout)
    assert machine["cpu"]["threads"] == 1
    assert machine["gpus"] or machine["no_gpu_because"]


def test_a_format_that_proves_wrong_is_not_written(tmp_path, gempick, monkeypatch):
    """A writer that turns the picks of the sample data upside down: exit 1, one sentence, the STAR file is there."""

    from napari_gempick.io.formats import FORMATS

    monkeypatch.setitem(FORMATS, "box", upside_down(FORMATS["box"]))
    data, out = Path(__file__).parents[2] / "sample_data", tmp_path / "out"
    templates = ("--templates", f"side={data}/template_side.mrc", f"top={data}/template_top.mrc")
    arguments = (*templates, "--angle-step", 15, "--lowpass", 35, "--format", "box,csv", "-o", out)
    done = gempick("pick", data / "micrograph_001.mrc", *arguments, check=1)
    sentences = [line for line in done.stderr.splitlines() if "micrograph_001.box was not written" in line]
    assert len(sentences) == 1 and "use --flip-y" in sentences[0]
    assert sorted(path.name for path in out.glob("*_001*")) == ["micrograph_001.csv", "micrograph_001_autopick.star"]
    (row,) = json.loads((out / "run.json").read_text())["micrographs"]
    assert row["wrong"] == ["box"] and row["proof"]["star"].startswith("verified: correlation with the template 0.")
    told = "Coordinate convention verified on 1 of 1 micrographs: correlation with the template "
    assert re.search(re.escape(told) + r"0\.\d\d \(next best convention: -?0\.\d\d\)\.\n", done.stdout)


def test_the_angle_step_is_automatic_and_a_costly_one_is_told(data, gempick):
    common = ("pick", "grid1/mic.mrc", "--templates", "particle.mrc", "--mask", "circle:130", "--lowpass", "40")
    gempick(*common, "--angle-step", "auto", "-o", "auto", check=0)
    run = json.loads((data / "auto" / "run.json").read_text())
    assert run["settings"]["angle_step"] is None and run["angle_step"] == 15 and not run["notes"]
    assert run["search_images"]["psi"][:3] == [0, 15, 30]
    done = gempick(*common, "--angle-step", "90", "-o", "given", check=0)
    run = json.loads((data / "given" / "run.json").read_text())
    (note,) = run["notes"]
    assert "step of 90 degrees costs" in note and done.stderr.count(note) == 1
    assert run["angle_step"] == 90 and len(run["search_images"]["k"]) == 4
