"""Jobs that meet an exception at every exchange: each must end soon, say so, and continue to the same bytes.

`python tests/faults/campaign.py [--ranks 2,4] [--exceptions MemoryError,...] [--every N]` runs all cases, or each N-th.
"""

import argparse
import collections
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import forked_python
from cluster_jobs import mpiexec, set_distribution, tree, values_for, write_data
from faults.points import EXCEPTIONS, HARMLESS, all_cases
from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.cluster.status import job_status
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.settings import make_settings
from napari_gempick.workflows.pick import pick_files

LONGEST = 20.0
"""Seconds in which every job must end."""
IN_ONE_WORLD = 60
"""Steps of one MPI world: MPI has a limited number of communicators."""


class Campaign:
    """A place where many small jobs run."""

    def __init__(self, folder):
        self.folder = Path(folder)
        data = self.folder / "data"
        data.mkdir(parents=True)
        write_data(data, count=3)
        settings, files = make_settings(values_for(data)), find_micrographs([data / "mics"])
        pick_files(settings, files, self.folder / "workstation")
        self.wanted = tree(self.folder / "workstation")
        self.job = self.folder / "job"
        export_job(settings, files, self.job, make_cluster({"site": "mpirun"}))

    def run(self, cases, again=1):
        """Run cases with one number of ranks, and each (or each n-th) again without a fault; return a row for each."""
        ranks = cases[0][5]
        assert all(case[5] == ranks for case in cases)
        place = Path(tempfile.mkdtemp(dir=self.folder))
        steps, rows = [], []
        for number, (_, point, working, exception, distribution, _, rank) in enumerate(cases):
            job = place / f"job{number}"
            shutil.copytree(self.job, job)
            set_distribution(job, distribution)
            fault = {"point": point, "working": working, "exception": exception, "rank": rank}
            steps.append({"step": 2 * number, "job": str(job), "fault": fault})
            if number % again == 0:
                steps.append({"step": 2 * number + 1, "job": str(job), "fault": None})
        left = steps
        while left:
            done = self._world(ranks, left[:IN_ONE_WORLD], place)
            left = left[done:]
        for number, case in enumerate(cases):
            rows.append(self._row(place, number, case, number % again == 0))
        shutil.rmtree(place)
        return rows

    def _world(self, ranks, steps, place):
        """Run steps until one of them ends the world; return how many were run."""
        (place / "steps.json").write_text(json.dumps(steps))
        python = forked_python.words("-m", "mpi4py", Path(__file__).with_name("world.py"))
        words = [mpiexec(), "-n", str(ranks), *python]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*words, place / "steps.json", place],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        begun, done = time.monotonic() + 10, 0  # the world takes a while to start
        while process.poll() is None and time.monotonic() - begun < LONGEST:
            while done < len(steps) and len(list(place.glob(f"{steps[done]['step']}-*.json"))) == ranks:
                begun, done = time.monotonic(), done + 1
            time.sleep(0.02)
        hung = process.poll() is None
        if hung:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with (place / "alive").open("w") as alive:
            fcntl.flock(
                alive, fcntl.LOCK_EX
            )  # until every rank is dead, each a fork: the launcher does not wait for them
        while done < len(steps) and len(list(place.glob(f"{steps[done]['step']}-*.json"))) == ranks:
            done += 1
        if done < len(steps):
            ended = "hung" if hung else process.returncode
            (place / f"{steps[done]['step']}.ended").write_text(json.dumps(ended))
            done += 1
        return done

    def _row(self, place, number, case, went_on):
        """Return what became of a case, and what is wrong with it."""
        _, point, _, exception, distribution, ranks, rank = case
        row = dict(point=point, exception=exception, distribution=distribution, ranks=ranks, rank=rank, wrong=[])
        step, again, wrong = 2 * number, 2 * number + 1, row["wrong"]
        row["reached"] = (place / f"{step}-{rank}.fired").exists()
        row["status"], row["aborted"] = _status(place, step)
        said = "".join(path.read_text() for path in place.glob(f"{step}-*.txt"))
        job = open_job(place / f"job{number}")
        logs = [
            json.loads(line)
            for path in job.progress.glob("attempt-001*.jsonl")
            for line in path.read_text().splitlines()
        ]
        failures = [event for event in logs if event["event"] == "micrograph" and event["state"] == "failed"]
        row["failed"] = len(failures)
        named = exception in said or "injected here" in said or (exception == "MemoryError" and "memory" in said)
        if "Traceback" in said:
            wrong.append("a traceback")
        if row["status"] == "hung":
            wrong.append("hung")
        elif not row["reached"] or point in HARMLESS:
            if row["status"] != 0:
                wrong.append(f"status {row['status']}, 0 expected")
        elif row["status"] == 2:  # a sentence of ours that names a file
            if not ("Cannot write" in said or "Nothing can be written" in said):
                wrong.append("status 2")
        elif row["status"] != 1:
            wrong.append(f"status {row['status']}, 1 expected")
        elif not named:
            wrong.append(f"not said: {said[-200:]!r}")
        done = tree(job.results)
        if any(content != self.wanted.get(path) for path, content in done.items() if ".tmp-" not in path):
            wrong.append("other bytes")
        if not went_on:
            return row
        row["again"], _ = _status(place, again)
        if row["again"] != 0:
            wrong.append(f"the next run ended with {row['again']}")
        if done != self.wanted:
            wrong.append("files are missing after the next run")
        if any(place.joinpath(f"job{number}").rglob(".tmp-*")):
            wrong.append("unfinished files")
        if job_status(job.folder).state != "complete":
            wrong.append(f"state {job_status(job.folder).state}")
        return row


def _status(place, step):
    """Return the status of a step and whether the whole world ended with it."""
    ended = place / f"{step}.ended"
    if ended.exists():
        return json.loads(ended.read_text()), True
    found = {json.loads(path.read_text()) for path in place.glob(f"{step}-*.json")}
    return (found.pop() if len(found) == 1 else f"mixed {sorted(found)}"), False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="2,4")
    parser.add_argument("--exceptions", default=",".join(EXCEPTIONS))
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    exceptions, sizes = options.exceptions.split(","), [int(text) for text in options.ranks.split(",")]
    counts, begun = collections.Counter(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GEMPICK_CACHE"] = folder
        campaign = Campaign(Path(folder) / "campaign")
        for size in sizes:
            cases = [case for case in all_cases() if case[5] == size and case[3] in exceptions][:: options.every]
            for first in range(0, len(cases), 40):
                for row in campaign.run(cases[first : first + 40]):
                    counts["cases"] += 1
                    counts["reached"] += row["reached"]
                    counts["recorded as a failure"] += row["failed"] > 0
                    counts["ended at once"] += row["aborted"]
                    counts["wrong"] += bool(row["wrong"])
                    if row["wrong"]:
                        print(json.dumps(row), flush=True)
                print(f"{time.monotonic() - begun:.0f} s, {size} ranks: {dict(counts)}", flush=True)
    sys.exit(1 if counts["wrong"] else 0)


if __name__ == "__main__":
    main()
