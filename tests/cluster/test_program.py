"""The MPI program: the same bytes for any number of ranks, ranks that die, jobs that continue, damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

import forked_python
from cluster_jobs import command, set_distribution, tree, values_for
from napari_gempick.cluster.collect import collect_job
from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.mpi.rank import Rank
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.cluster.status import job_status
from napari_gempick.engine.matching.workers import DevicePool
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.settings import make_settings
from napari_gempick.workflows.pick import pick_files

DISTRIBUTIONS = ("micrographs", "templates")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 8])
def test_any_number_of_ranks_gives_the_workstations_bytes(job, wanted, run, ranks, distribution):
    run(ranks, job, distribution=distribution)
    assert tree(job / "results") == wanted
    proof = collect_job(job)["job"]["coverage"]
    assert proof["pairs_counted"] == proof["pairs_expected"] == 5 * 37
    assert proof["every_pair_once"]
    assert job_status(job).state == "complete"


def test_a_rank_with_free_cores_reads_several_micrographs_at_a_time(job, wanted, run, tmp_path):
    """As one with a GPU does; the bytes stay the same, and each micrograph is read once."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('GEMPICK_TEST_READERS'):\n"
        "    import threading, time\n"
        "    import napari_gempick.cluster.mpi.micrographs as worker\n"
        "    from napari_gempick.engine.matching.workers import DevicePool\n"
        "    read, inside = worker.loader, []\n"
        "    def loader(micrograph, *args):\n"
        "        if threading.current_thread() is threading.main_thread():\n"
        "            return read(micrograph, *args)\n"
        "        inside.append(micrograph)\n"
        "        time.sleep(0.3)\n"
        "        with open(os.environ['GEMPICK_TEST_READERS'], 'a') as file:\n"
        "            file.write(f'{micrograph.path.name} {len(inside)}\\n')\n"
        "        try:\n"
        "            return read(micrograph, *args)\n"
        "        finally:\n"
        "            inside.remove(micrograph)\n"
        "    worker.loader = loader\n"
        "    DevicePool.readers = lambda self, threads: 3\n"
    )
    read = tmp_path / "read.txt"
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    run(1, job, distribution="micrographs", env={"PYTHONPATH": paths, "GEMPICK_TEST_READERS": str(read)})
    assert tree(job / "results") == wanted
    lines = sorted(line.split() for line in read.read_text().splitlines())
    assert [name for name, _ in lines] == [f"mic{number}.mrc" for number in range(5)]
    assert max(int(inside) for _, inside in lines) > 1


@pytest.mark.parametrize(("ranks", "distribution"), [(3, "templates"), (2, "micrographs")])
def test_a_compressed_search_gives_the_workstations_bytes_too(data, run, tmp_path, ranks, distribution):
    values = {**values_for(data), "per_view_maps": False, "search": "compressed"}
    files = find_micrographs([data / "mics"])
    alone = pick_files(make_settings(values), files, tmp_path / "workstation")
    assert all(row["map_bound"] > 0 for row in alone["micrographs"])
    export_job(make_settings(values), files, tmp_path / "job", make_cluster({"site": "mpirun"}))
    run(ranks, tmp_path / "job", distribution=distribution)
    assert tree(tmp_path / "job" / "results") == tree(tmp_path / "workstation")
    proof = collect_job(tmp_path / "job")["job"]["coverage"]
    assert proof["every_pair_once"]
    assert proof["pairs_counted"] == proof["pairs_expected"] == 5 * 37


def test_a_run_of_the_workstation_covers_the_maps(wanted):
    names = {name.rsplit("_", 1)[1] for name in wanted if name.startswith("maps/")}
    assert names == {"ncc.mrc", "index.mrc", "min.mrc", "minindex.mrc"}
    assert any("_side_ncc" in name for name in wanted)
    assert len(wanted) == 5 * (2 + 8)


def start(job, ranks, distribution, **env):
    set_distribution(job, distribution)
    return subprocess.Popen(
        command(ranks, job),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        start_new_session=True,
    )


def wait_for(condition, process, seconds=60):
    """Wait until something is seen while a job runs."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    raise AssertionError("nothing happened")


def processes(job):
    """Process of each rank of the last attempt, from the logs."""
    found = {}
    for path in sorted((job / "progress").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row["event"] == "start":
                found[row["rank"]] = row["process"]
    return found


def finished(job):
    return sorted(job.glob("results/grid*/mic*_autopick.star"))


def searched(job):
    """Candidates of finished micrographs; only a search writes them."""
    return [job / "results" / "candidates" / path.parent.name / f"{path.name[:4]}.star" for path in finished(job)]


@pytest.mark.parametrize(
    ("victims", "distribution"), [("one", "micrographs"), ("one", "templates"), ("all", "micrographs")]
)
def test_killed_ranks_end_the_job_and_the_next_one_goes_on(job, wanted, run, slow, distribution, victims):
    process = start(job, 3, distribution, **slow)
    wait_for(lambda: finished(job), process)
    ranks = processes(job)
    for rank in [1] if victims == "one" else sorted(ranks):
        os.kill(ranks[rank], signal.SIGKILL)
    process.communicate(timeout=30)  # it does not hang
    assert process.returncode != 0
    before = {path: path.stat().st_mtime_ns for path in searched(job)}
    assert 1 <= len(before) < 5
    run(1, job)  # another number of ranks may continue
    assert tree(job / "results") == wanted
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was computed twice
    assert collect_job(job)["job"]["coverage"]["every_pair_once"]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_signal_ends_the_job_after_the_micrograph_in_hand(job, wanted, run, slow, distribution):
    process = start(job, 2, distribution, **slow)
    wait_for(lambda: finished(job), process)
    for number in processes(job).values():
        os.kill(number, signal.SIGTERM)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 1, output
    assert "Stopped by SIGTERM" in output
    assert "submit again to continue" in output
    assert job_status(job).state == "stopped"
    assert not list(job.rglob(".tmp-*"))
    run(1, job)
    assert tree(job / "results") == wanted


def test_results_that_were_changed_are_made_anew(job, wanted, run):
    run(1, job)
    damaged, other = finished(job)[:2]
    damaged.write_bytes(damaged.read_bytes()[:-10])
    kept = other.stat().st_mtime_ns
    run(1, job)
    assert tree(job / "results") == wanted
    assert other.stat().st_mtime_ns == kept


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_broken_micrograph_is_recorded_and_the_others_go_on(data, tmp_path, job, wanted, run, distribution):
    content = json.loads((job / "job.json").read_text())
    broken = tmp_path / "broken.mrc"
    broken.write_bytes((data / "mics/grid1/mic1.mrc").read_bytes()[:-100])
    for row in content["micrographs"]:
        if row["path"].endswith("mic1.mrc"):
            row["path"] = str(broken)
        if row["path"].endswith("mic2.mrc"):
            row["path"] = str(tmp_path / "missing.mrc")
    (job / "job.json").write_text(json.dumps(content))
    done = run(2, job, distribution=distribution, check=1)
    assert f"{broken} is truncated" in done.stderr
    assert f"{tmp_path / 'missing.mrc'} does not exist" in done.stderr
    now = job_status(job)
    assert (now.done, now.failed) == (3, 2)
    run_file = collect_job(job)
    assert sum("error" in row for row in run_file["micrographs"]) == 2
    assert run_file["job"]["coverage"]["every_pair_once"]
    found = tree(job / "results")
    assert found == {name: wanted[name] for name in found}
    assert len(found) == 3 * 10


def test_a_truncated_stack_is_refused_once(job, run):
    stack = job / "templates/1/side.mrcs"
    stack.write_bytes(stack.read_bytes()[:-1000])
    done = run(3, job, check=2)
    assert done.stderr.count(f"{stack} has") == 1
    assert "truncated or changed" in done.stderr
    assert not (job / "results").exists()


def test_separate_programs_are_refused(job, run):
    done = run(1, job, env={"SLURM_NTASKS": "4"}, check=0)
    assert "picked" in done.stderr
    words = command(1, job, python=forked_python.words)
    words[words.index("--ranks") + 1] = "4"
    alone = subprocess.run(words[3:], capture_output=True, text=True, check=False)
    assert alone.returncode == 2
    assert "4 MPI ranks were expected, but MPI reports 1" in alone.stderr
    del words[words.index("--ranks") :]
    promised = subprocess.run(
        words[3:], capture_output=True, text=True, check=False, env={**os.environ, "SLURM_NTASKS": "4"}
    )
    assert promised.returncode == 2


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, for root; without root, None."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode != 0:
        yield None
        return
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_read_only_folder_is_refused(job, run, small_disk):
    if small_disk is None:
        for path in (job, *job.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    else:
        job = shutil.copytree(job, small_disk / "job")
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = run(2, job, check=2)
    assert done.stderr.count("Nothing can be written into the job folder") == 1


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_full_disk_ends_the_job_in_one_sentence(job, run, small_disk, wanted, distribution):
    place = job
    if small_disk is not None:
        place = shutil.copytree(job, small_disk / "job")
    set_distribution(place, distribution)
    words = command(2, place)
    if small_disk is None:  # files longer than some blocks are refused instead
        words = ["bash", "-c", 'ulimit -f 120; trap "" XFSZ; exec "$@"', "bash", *words]
    else:
        (small_disk / "ballast").write_bytes(bytes(2**19 + 2**16))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "Cannot write" in done.stderr
    if small_disk is not None:
        (small_disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    run(1, place)
    assert tree(place / "results") == wanted


def test_check_says_what_each_rank_has(job, run):
    job_json = json.loads((job / "job.json").read_text())
    job_json["cluster"]["gpus_per_node"] = 4
    (job / "job.json").write_text(json.dumps(job_json))
    done = run(2, job, "--check", env={"CUDA_VISIBLE_DEVICES": "4,5,6,7"})
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["devices"] for row in rows] == ["cuda:0,cuda:1", "cuda:2,cuda:3"]
    assert not list((job / "progress").glob("*.jsonl")) if (job / "progress").exists() else True


def test_nothing_of_the_window_is_loaded():
    program = (
        "import sys, napari_gempick.cluster.mpi.program, napari_gempick.cluster;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'napari', 'qtpy', 'PyQt6', 'vispy', 'mpi4py'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("mine", "other", "search", "expected"),
    [
        (True, True, "auto", "auto"),
        (True, False, "auto", "full"),
        (False, True, "auto", "full"),
        (True, True, "compressed", "compressed"),
        (True, False, "compressed", None),
        (True, False, "full", "full"),
    ],
)
def test_ranks_that_might_cut_other_tiles_do_not_share_a_compressed_search(exported, mine, other, search, expected):
    """`mine` and `other`: each rank's plan is stored. Tiles of different plans would not join."""
    rank = Rank.__new__(Rank)
    job = open_job(exported)
    settings, content = job.settings.model_copy(update={"search": search}), job.content | {"distribution": "templates"}
    rank.job, rank.weight, rank._one_kind = replace(job, settings=settings, content=content), 2, True
    rank.comm = SimpleNamespace(size=2, allgather=lambda told: [told, [3, other]])
    rank.pool = DevicePool([])
    rank.plans = SimpleNamespace(record={"stored": mine})
    rank.worker = SimpleNamespace(makers=SimpleNamespace(index=SimpleNamespace(view_names=("side", "top"))))
    if expected is None:
        with pytest.raises(SettingsError, match="--distribution micrographs"):
            rank.exchange_weights()
    else:
        rank.exchange_weights()
        assert rank.weights == [2, 3]
        assert rank._wanted.kind == expected
