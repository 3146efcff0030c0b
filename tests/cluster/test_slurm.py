"""A real Slurm of two nodes: export, submit, watch, collect; GPUs of each task; scancel and on again.

The tests take the Slurm that SLURM_CONF names, or start one with the script that GEMPICK_SLURM names (default:
../shared/slurm.sh), which installs it where it may. Elsewhere they skip.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from filelock import FileLock

from cluster_jobs import tree, values_for, write_lane
from napari_gempick.cluster.collect import collect_job
from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.cluster.status import job_status
from napari_gempick.cluster.submit import cancel_job, submit_job
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.settings import make_settings

pytestmark = pytest.mark.slurm
SCRIPT = Path(os.environ.get("GEMPICK_SLURM") or Path(__file__).parents[3] / "shared" / "slurm.sh")
RUNNING = Path(tempfile.gettempdir()) / "slurm-test" / "slurm.conf"


def answers(configuration):
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    if shutil.which("sinfo") is None or not Path(configuration).exists():
        return False
    done = subprocess.run(["sinfo", "-h"], env=environment, capture_output=True, timeout=30, check=False)
    return done.returncode == 0 and bool(done.stdout)


@pytest.fixture(scope="module")
def slurm():
    """A running Slurm; SLURM_CONF names it meanwhile."""
    with FileLock(Path(tempfile.gettempdir()) / "gempick-slurm-test.lock", mode=0o666):
        before = os.environ.get("SLURM_CONF")
        ours = False
        found = next((path for path in (before, RUNNING) if path and answers(path)), None)
        if found is None:
            if not SCRIPT.exists():
                pytest.skip("no Slurm: set SLURM_CONF, or GEMPICK_SLURM to a script that starts one")
            environment = {**os.environ, "SLURM_TEST_GPUS": "2"}
            done = subprocess.run(
                [SCRIPT, "up"], env=environment, capture_output=True, text=True, timeout=400, check=False
            )
            if done.returncode != 0:
                pytest.skip(f"no Slurm: {SCRIPT} failed: {done.stderr[-300:]}")
            found, ours = done.stdout.strip().splitlines()[-1], True
        os.environ["SLURM_CONF"] = str(found)
        yield
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
        if ours:
            subprocess.run([SCRIPT, "down"], check=True, timeout=60)


@pytest.fixture
def make(data, wanted, tmp_path, slurm, monkeypatch):
    """Export a job for two nodes of two tasks; the workstation's results exist, so its plan is carried along."""
    monkeypatch.setenv("MPIR_CVAR_CH4_NETMOD", "ofi")  # the addresses of its UCX transport may be too long for pmi2
    monkeypatch.setenv("FI_PROVIDER", "tcp")

    def export(**more):
        cluster = {"site": "slurm", "nodes": 2, "tasks_per_node": 2, "memory": 1, "walltime": "00:05:00", **more}
        folder = tmp_path / "job 'on' slurm; é"
        micrographs = find_micrographs([data / "mics"])
        return export_job(make_settings(values_for(data)), micrographs, folder, make_cluster(cluster)).job.folder

    return export


def output(job):
    return "\n".join(path.read_text(errors="replace") for path in sorted((job / "log").iterdir()))


def until(condition, job, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        if "mpi/pmi2: invalid client request" in output(job):
            pytest.skip("MPICH could not start: this Slurm's pmi2 cuts the addresses of its network devices")
        time.sleep(0.05)
    raise AssertionError(output(job))


def in_queue(number):
    done = subprocess.run(["squeue", "-h", "-j", number], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip())


@pytest.mark.parametrize(("launcher", "distribution"), [("srun", "templates"), ("mpiexec", "micrographs")])
def test_a_job_from_export_to_collect(make, wanted, slow, launcher, distribution):
    lines = tuple(f"export {name}='{value}'" for name, value in slow.items())
    job = make(launcher=launcher, distribution=distribution, environment=lines, **interpreter())
    number = submit_job(job).job_id
    assert json.loads((job / "submitted.json").read_text())[-1]["job_id"] == number
    until(lambda: job_status(job).done >= 1, job)
    seen = job_status(job)
    assert seen.state == "running"
    assert seen.done < seen.total == 5
    assert len(seen.ranks) == 4
    until(lambda: job_status(job).state == "complete" and not in_queue(number), job)
    assert tree(job / "results") == wanted
    run = collect_job(job)
    assert run["job"]["coverage"]["every_pair_once"]
    assert "exactly once" in (job / "results" / "report.md").read_text()


def interpreter():
    """This Python and the mpiexec beside it, for jobs that have environment lines."""
    return {"python": sys.executable, "mpiexec": str(Path(sys.executable).parent / "mpiexec")}


def test_scancel_and_submit_again(make, wanted, slow):
    lines = tuple(f"export {name}='{value}'" for name, value in slow.items())
    job = make(distribution="micrographs", tasks_per_node=1, environment=lines, **interpreter())
    number = submit_job(job).job_id
    until(lambda: job_status(job).done >= 1, job)
    assert cancel_job(job) == number
    until(lambda: not in_queue(number), job)
    done = job_status(job)
    assert 1 <= done.done < 5
    kept = {path: path.stat().st_mtime_ns for path in (job / "results" / "candidates").glob("*/mic*.star")}
    again = submit_job(job).job_id
    assert again != number
    until(lambda: job_status(job).state == "complete" and not in_queue(again), job)
    assert tree(job / "results") == wanted
    unchanged = [path for path, when in kept.items() if path.stat().st_mtime_ns == when]
    assert len(unchanged) >= done.done


@pytest.mark.parametrize("per_task", [False, True])
def test_tasks_find_their_gpus(make, per_task):
    have = subprocess.run(["sinfo", "-h", "-o", "%G"], capture_output=True, text=True, check=True).stdout
    if "gpu:2" not in have:
        pytest.skip("this Slurm has no GPUs: SLURM_TEST_GPUS=2")
    options = ("--mpi=pmi2", "--gpus-per-task=1") if per_task else ()
    job = make(gpus_per_node=2, launcher_option=options)
    script = job / "submit.sh"
    script.write_text(script.read_text().replace("--ranks 4", "--ranks 4 --check"))
    number = submit_job(job).job_id
    until(lambda: not in_queue(number), job)
    rows = [json.loads(line) for line in output(job).splitlines() if line.startswith("{")]
    assert [row["rank"] for row in rows] == [0, 1, 2, 3], output(job)
    devices = [row["devices"] for row in rows]
    assert devices == (["cuda:0"] * 4 if per_task else ["cuda:0", "cuda:1"] * 2)
    of_nodes = [[tuple(row["gpus"]) for row in rows[first : first + 2]] for first in (0, 2)]
    assert of_nodes == [[("0",), ("1",)] if per_task else [("0", "1")] * 2] * 2  # no two tasks of a node on one GPU


def test_ranks_that_do_not_see_each_other_are_refused(make):
    job = make(launcher_option=("--mpi=none",))
    number = submit_job(job).job_id
    until(lambda: not in_queue(number), job)
    assert output(job).count("4 MPI ranks were expected, but MPI reports 1") >= 1
    assert not (job / "results").exists()


LANES = {
    "named in comments": "## {{ run_cmd }} - what is run\n#SBATCH --job-name cs_{{ job_uid }}\n"
    "#SBATCH -n {{ num_cpu }}\n#SBATCH --output={{ job_log_path_abs }}\n\n{{ run_cmd }}\n",
    "wrapped": "#SBATCH --job-name=cs_{{ job_uid }}\n#SBATCH -n {{ num_cpu }}\necho {{ run_cmd }}\n"
    "{{ run_cmd }} > {{ job_log_path_abs }} 2>&1\n",
    "one task of srun": "#SBATCH --job-name=cs_{{ job_uid }}\n#SBATCH --ntasks=1 --cpus-per-task={{ num_cpu }}\n"
    "srun {{ run_cmd }}\n",
    "several tasks of srun": "#SBATCH -J cs_{{ job_uid }} -n {{ num_cpu }}\nsrun --mpi=pmi2 {{ run_cmd }}\n",
    "tasks on two nodes": "#SBATCH -J cs_{{ job_uid }} -N 2 --ntasks-per-node=2\nsrun {{ run_cmd }}\n",
}


@pytest.fixture
def make_lane(tmp_path, make, monkeypatch):
    """Export a job for a lane of cryoSPARC's, as its installation would write it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))

    def go(script, **cluster):
        script = "#!/usr/bin/env bash\n" + script
        lane = write_lane(tmp_path / "lane", script, send_cmd_tpl="env A=1 {{ command }}")
        return make(site=str(lane), **{"nodes": 1, **cluster})

    return go


@pytest.mark.parametrize("lane", LANES)
def test_a_lane_keeps_its_directives_and_starts_the_job_once(make_lane, wanted, lane):
    job = make_lane(LANES[lane], nodes=2 if "two nodes" in lane else 1)
    number = submit_job(job).job_id
    asked = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=True).stdout
    assert "JobName=cs_gempick" in asked
    assert f"NumCPUs={4 if 'two nodes' in lane else 2}" in asked
    until(lambda: job_status(job).state == "complete" and not in_queue(number), job)
    assert tree(job / "results") == wanted
    assert {path.name.split("-rank")[0] for path in (job / "progress").glob("*.jsonl")} == {"attempt-001"}
    assert len(job_status(job).ranks) == (4 if "two nodes" in lane else 2)


def test_a_job_that_dies_before_it_reports(make_lane):
    job = make_lane("#SBATCH -n 2\necho module: not found\nkill -9 $$\n{{ run_cmd }}\n")
    number = submit_job(job).job_id
    until(lambda: not in_queue(number), job)
    seen = job_status(job)
    assert (seen.state, seen.remark) == ("ended without a result", "")
    assert "module: not found" in seen.log


def test_a_job_that_is_killed_while_it_works(make, slow):
    lines = tuple(f"export {name}='{value}'" for name, value in slow.items())
    job = make(distribution="micrographs", tasks_per_node=1, environment=lines, **interpreter())
    number = submit_job(job).job_id
    until(lambda: job_status(job).done >= 1, job)
    subprocess.run(["scancel", "--signal=KILL", number], check=True)
    until(lambda: not in_queue(number), job)
    until(lambda: job_status(job).state == "stopped", job, 15)
