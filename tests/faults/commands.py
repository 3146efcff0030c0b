"""Signals to `gempick pick`, `watch` and `extract` at random moments: no half file, the same bytes after resuming.

`python tests/faults/commands.py [--moments 60] [--seed N]` sends each signal so often to each command.
"""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import forked_python
from faults.signals import main
from helpers import Blobs
from napari_gempick.io.stack import write_mrc
from napari_gempick.io.star import read_table

STATUS = {"SIGKILL": {-9}, "SIGINT": {130}, "SIGTERM": {143}}
LEFT = 2.0
"""Seconds after which nothing of a command that was told to stop may live."""
UNFINISHED = (".tmp-", ".gempick.lock")
CHANGING = ("run.json", "gempick.log", "autopick.star")
"""Whole at any moment, but not the same until the end."""


def make_data(folder):
    """Write eight small micrographs, a template, and picks of them."""
    rng = np.random.default_rng(0)
    for number in range(8):
        places = rng.uniform(50, 200, (6, 2))
        image = Blobs.image((250, 250), 2.0, places) + 0.3 * rng.standard_normal((250, 250))
        write_mrc(folder / f"mics/m{number}.mrc", image.astype(np.float32), 2.0)
        rows = "".join(f"{x:.2f},{y:.2f}\n" for x, y in places)
        path = folder / f"picks/m{number}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("x,y\n" + rows)
    write_mrc(folder / "template.mrc", Blobs.image((88, 88), 2.0, [(44, 44)]), 2.0)


SEARCH = ("mics", "--templates", "p=template.mrc", "--mask", "circle:130", "--angle-step", "6", "--save-maps")
PICK = ("pick", *SEARCH, "-o")
EXTRACT = ("extract", "mics", "picks", "--box", "64", "--normalize", "-o")
AUTO = (*PICK[:-2], "--threshold", "auto", "-o")
SOON = ("--poll", "0.1s", "--settle", "0.1s", "--until-idle", "0.3s", "--refresh", "0.1s", "--json", "-o")
WATCH = ("watch", *AUTO[1:-1], *SOON)
COMMANDS = {"pick": (PICK, "out"), "watch": (WATCH, "out"), "extract": (EXTRACT, "out/p.mrcs")}
RIGHT = {"watch": AUTO}
"""What another command makes must be the same."""
CHOSEN_AGAIN = {"watch": "_autopick.star"}
"""Files that are whole, but follow the evidence of all micrographs at the end."""


def files(folder):
    """Return the finished files of a folder with their bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(UNFINISHED) or part.endswith(".partial") for part in name.split("/"))
        if path.is_file() and not hidden and path.name not in CHANGING:
            found[name] = path.read_bytes()
    return found


def start(folder, words, where, *more):
    command = forked_python.words("-m", "napari_gempick", *words, where, *more)
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def one(folder, what, name, after, wanted):
    """Send one signal; return what is wrong."""
    wrong = []
    words, where = COMMANDS[what]
    process = start(folder, words, where)
    time.sleep(after)
    running = process.poll() is None
    process.send_signal(getattr(signal, name))
    sent = time.monotonic()
    try:
        said = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[1]
        wrong.append("hung")
    took = time.monotonic() - sent
    if running and process.returncode not in STATUS[name] | {0, -signal.SIGINT, -signal.SIGTERM}:
        wrong.append(f"status {process.returncode}")
    if "Traceback" in said and "napari_gempick" in said.split("Traceback", 1)[1]:  # not one of Python's own start
        wrong.append(f"a traceback: {said[-300:]}")
    half = {path for path, content in files(folder / "out").items() if content != wanted.get(path)}
    for path in [path for path in half if path.endswith(CHOSEN_AGAIN.get(what, " "))]:
        read_table(folder / "out" / path)  # raises where it is cut
        half.discard(path)
    done = {path.stem for path in (folder / "out/candidates").glob("*.star")}
    done = {name for name in done if (folder / f"out/{name}_autopick.star").exists()}
    if half:
        wrong.append(f"half files: {sorted(half)}")
    for place in (folder / "out").glob("run.json"):
        json.loads(place.read_text())
    resumable = what != "pick" or (folder / "out/run.json").exists()
    again = start(folder, words, where, *(["--resume"] if resumable else []))
    events, said = again.communicate(timeout=120)
    if again.returncode != 0:
        wrong.append(f"resuming ended with {again.returncode}: {said[-300:]}")
    if files(folder / "out") != wanted:
        wrong.append("other bytes after resuming")
    if what in RIGHT:
        rows = [json.loads(line) for line in events.splitlines()]
        found = {Path(one["micrograph"]).stem for one in rows if one["event"] == "found"}
        if done & found or done | found != {f"m{number}" for number in range(8)}:
            wrong.append(f"twice or never: {sorted(done & found)}, {sorted(done | found)}")
    left = [path.name for path in (folder / "out").rglob("*") if path.name.startswith(UNFINISHED)]
    if left or (folder / "out/p.mrcs.partial").exists():
        wrong.append(f"left behind: {left or 'the partial folder'}")
    subprocess.run(["rm", "-rf", "out"], cwd=folder, check=True)
    return {
        "what": what,
        "signal": name,
        "after": round(after, 2),
        "took": round(took, 2),
        "running": running,
        "wrong": wrong,
    }


def run(folder, moments, seed, whats=tuple(COMMANDS), names=tuple(STATUS)):
    """Send signals at random moments of each command; yield a row for each."""
    random.seed(seed)
    make_data(folder)
    for what in whats:
        begun = time.monotonic()
        words, where = COMMANDS[what]
        said = (process := start(folder, words, where)).communicate(timeout=120)[1]
        assert process.returncode == 0, said
        whole = time.monotonic() - begun
        if what in RIGHT:
            subprocess.run(["mv", "out", "first"], cwd=folder, check=True)
            assert start(folder, RIGHT[what], where).wait(120) == 0
            assert files(folder / "first") == files(folder / "out")
            assert (folder / "first/autopick.star").read_bytes() == (folder / "out/autopick.star").read_bytes()
        wanted = files(folder / "out")
        subprocess.run(["rm", "-rf", "out", "first"], cwd=folder, check=True)
        for _ in range(moments):
            for name in names:
                yield one(folder, what, name, random.uniform(0.2, 1.0) * whole, wanted)


if __name__ == "__main__":
    main(__doc__, run)
