"""Signals to a running job at random moments: no half file, the same bytes after it was run again, nothing left behind.

`python tests/faults/signals.py [--moments 60] [--seed N]` sends each signal so often.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import forked_python
from cluster_jobs import command, set_distribution, tree
from faults.campaign import LONGEST, Campaign

SIGNALS = ("SIGKILL", "SIGINT", "SIGTERM")
TARGETS = ("launcher", "rank", "all")
LEFT = 2.0
"""Seconds after which nothing of a job that has ended may live."""


def processes(job):
    """Return the processes of a job, but for its launcher's: those that name its folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            state = (place / "stat").read_text().rsplit(")", 1)[1].split()[0]
            if str(job) in words and state != "Z":
                found.append((int(place.name), words[0]))
    return found


def one(campaign, name, target, distribution, after):
    """Send one signal; return what is wrong."""
    wrong = []
    job = Path(tempfile.mkdtemp(dir=campaign.folder)) / "job"
    shutil.copytree(campaign.job, job)
    set_distribution(job, distribution)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command(2, job), **{**quiet, "stderr": said}, start_new_session=True)
        time.sleep(after)
        running = process.poll() is None
        number = getattr(signal, name)
        with contextlib.suppress(ProcessLookupError):
            ranks = [pid for pid, word in processes(job) if "python" in word]
            if target == "launcher":
                process.send_signal(number)
            elif target == "rank" and ranks:
                os.kill(random.choice(ranks), number)
            else:
                os.killpg(process.pid, number)
        try:
            process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            wrong.append("hung")
        until = time.monotonic() + LEFT
        while processes(job) and time.monotonic() < until:
            time.sleep(0.02)
        if alive := processes(job):
            wrong.append(f"left behind: {alive}")
            for pid, _ in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        said.seek(0)
        text = said.read()
    if "Traceback" in text and "napari_gempick" in text.split("Traceback", 1)[1]:  # not one of Python's own start
        wrong.append(f"a traceback: {text[-300:]}")
    status = process.poll()
    found = {path: content for path, content in tree(job / "results").items() if ".tmp-" not in path}
    half = {path for path, content in found.items() if content != campaign.wanted.get(path)}
    if half:
        wrong.append(f"half files: {sorted(half)}")
    done = subprocess.run(command(1, job, python=forked_python.words), **quiet, timeout=60, check=False)
    if done.returncode != 0:
        wrong.append(f"the next run ended with {done.returncode}: {done.stderr[-300:]}")
    if tree(job / "results") != campaign.wanted:
        wrong.append("other bytes after the next run")
    shutil.rmtree(job.parent)
    row = {"signal": name, "to": target, "distribution": distribution, "after": round(after, 2), "status": status}
    return {**row, "running": running, "wrong": wrong}


def run(campaign, moments, seed):
    """Send every signal at random moments of a run; yield a row for each."""
    random.seed(seed)
    begun = time.monotonic()
    job = campaign.folder / "whole"
    shutil.copytree(campaign.job, job)
    subprocess.run(command(2, job), capture_output=True, check=True)
    whole = time.monotonic() - begun
    shutil.rmtree(job)
    for moment in range(moments):
        for number, name in enumerate(SIGNALS):
            target = TARGETS[(moment + number) % 3]
            distribution = ("micrographs", "templates")[(moment // 3 + number) % 2]
            yield one(campaign, name, target, distribution, random.uniform(0.05, 1.0) * whole)


def main(description, rows):
    """Run the rows that `rows(folder, moments, seed)` yields, as a program: what is wrong, and the counts so far."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = count = running = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GEMPICK_CACHE"] = str(Path(folder) / "cache")
        for row in rows(Path(folder) / "data", options.moments, options.seed):
            count, wrong, running = count + 1, wrong + bool(row["wrong"]), running + row["running"]
            if row["wrong"]:
                print(json.dumps(row), flush=True)
            print(f"{count} signals, {running} of them at work, {wrong} wrong", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(__doc__, lambda folder, moments, seed: run(Campaign(folder), moments, seed))
