"""gempick watch on the command line: options, events, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time

import click
import numpy as np
import pytest

from napari_gempick.cli import main
from napari_gempick.device.locks import give_back, take
from napari_gempick.io.stack import write_mrc

SOON = ("--poll", "0.05s", "--settle", "0.05s", "--until-idle", "0.3s")


def lines(text):
    """The events of a command's output, and their names."""
    events = [json.loads(line) for line in text.splitlines()]
    return events, [event["event"] for event in events]


def test_watch_has_every_option_of_pick_in_the_same_order():
    options = {
        name: [
            one.opts[-1] for one in main.get_command(click.Context(main), name).params if isinstance(one, click.Option)
        ]
        for name in ("pick", "watch")
    }
    own = [name for name in options["watch"] if name not in options["pick"]]
    assert own == ["--pattern", "--poll", "--settle", "--ctf-wait", "--refresh", "--until-idle"]
    assert [name for name in options["watch"] if name not in own] == options["pick"]


def test_events_are_lines_of_json_and_the_end_is_that_of_pick(data, gempick, basic, contents):
    write_mrc("grid1/empty.mrc", np.zeros((250, 260), np.float32), 2.0)
    done = gempick("watch", "grid1", "grid2", *basic, *SOON, "-o", "out", "--json", check=1)
    events, names = lines(done.stdout)
    assert names[0] == "watching" and names[-1] == "ended" and names.count("idle") == 1
    assert all("T" in event["time"] for event in events)
    rows = {event["micrograph"]: event["row"] for event in events if event["event"] == "done"}
    run = json.loads((data / "out/run.json").read_text())
    assert list(rows.values()) == [row for row in run["micrographs"] if "error" not in row]
    (failed,) = (event for event in events if event["event"] == "failed")
    assert failed["error"] in done.stderr and failed["micrograph"].endswith("grid1/empty.mrc")
    assert events[-1]["done"] == 3 and events[-1]["failed"] == 1 and events[-1]["state"] == "complete"
    assert "3 micrographs" in done.stderr and "1 failed" in done.stderr
    gempick("pick", "grid1", "grid2", *basic, "-o", "other", check=1)
    kinds = ("run.json", "gempick.log", "autopick.star")
    assert contents(data / "out", kinds) == contents(data / "other", kinds)
    assert (data / "out/autopick.star").read_text().replace(" out/", " other/") == (
        data / "other/autopick.star"
    ).read_text()


def test_only_files_whose_names_match(data, gempick, basic):
    """As in a folder of cryoSPARC, which has micrographs with and without dose weights."""
    (data / "grid2/mic.mrc").rename(data / "grid2/1_mic_patch_aligned_doseweighted.mrc")
    (data / "grid2/other.mrc").rename(data / "grid2/1_mic_patch_aligned.mrc")
    done = gempick("watch", "grid2", "--pattern", "*_doseweighted.mrc", *basic, *SOON, "-o", "out", "--json", check=0)
    (found,) = (event["micrograph"] for event in lines(done.stdout)[0] if event["event"] == "found")
    assert found.endswith("grid2/1_mic_patch_aligned_doseweighted.mrc")


@pytest.mark.parametrize("command", [("pick", "--resume"), ("watch", *SOON)])
def test_masks_and_maps_beside_the_micrographs_are_not_micrographs(data, gempick, basic, command):
    name, *more = command
    words = (name, "grid1", *basic, "--exclude", "auto", "--save-maps", "-o", "grid1")
    gempick(*words, *(more if name == "watch" else ()), check=0)
    assert list((data / "grid1/excluded").iterdir()) and list((data / "grid1/maps").iterdir())
    gempick(*words, *more, check=0)
    assert [row["name"] for row in json.loads((data / "grid1/run.json").read_text())["micrographs"]] == ["mic"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--until-idle", "30"), "such as 90s, 30m or 2h"),
        (("--overwrite", "--resume"), "cannot be combined"),
        (("--pool", "--threshold", "0.5"), "give --threshold auto"),
        (("--ctf", "c.star", "--contrast", "same"), "omit --contrast"),
        (("--threshold", "2"), "must lie between -1 and 1"),
    ],
)
def test_wrong_usage_is_one_sentence(data, gempick, basic, words, sentence):
    done = gempick("watch", "grid1", *basic[:-2], *words, "-o", "out", check=2)
    assert sentence in done.stderr and not (data / "out").exists()


def test_nothing_arrived(data, gempick, basic):
    done = gempick("watch", "later", *basic, *SOON, "-o", "out", "--json", check=2)
    assert "No micrograph arrived in later within 0.3s" in done.stderr and "does not exist yet" in done.stderr
    assert lines(done.stdout)[1][-1] == "ended"


def test_a_second_one_in_the_same_folder_is_refused(data, gempick, basic):
    (data / "out").mkdir()
    lock = take(data / "out/.gempick.lock")
    done = gempick("watch", "grid1", *basic, *SOON, "-o", "out", check=2)
    assert "Another run is writing to out" in done.stderr
    give_back(lock)


def test_a_signal_while_it_waits_ends_it_and_the_next_one_continues(data, gempick, basic, plan_cache):
    command = [sys.executable, "-m", "napari_gempick", "watch", "grid1", *basic, *SOON[:4], "-o", "out", "--json"]
    env = {**os.environ, "GEMPICK_CACHE": str(plan_cache)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    try:
        for line in process.stdout:
            if json.loads(line)["event"] == "idle":
                break
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        rest, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 143 and "Stopped." in said and "Traceback" not in said
    assert lines(rest)[1] == ["ended"]
    assert json.loads((data / "out/run.json").read_text())["state"] == "stopped"
    done = gempick("watch", "grid1", *basic, *SOON, "-o", "out", "--json", check=0)
    assert "found" not in lines(done.stdout)[1]
