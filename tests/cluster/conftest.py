"""A job folder, what the workstation makes of the same data, and how a job is run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import forked_python
from cluster_jobs import command, set_distribution, tree, values_for, write_data
from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.settings import make_settings
from napari_gempick.workflows.pick import pick_files


@pytest.fixture(autouse=True)
def own_configuration(tmp_path, monkeypatch):
    """No test reads or writes the user's configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))


@pytest.fixture(scope="session")
def data(tmp_path_factory, plan_cache):
    folder = tmp_path_factory.mktemp("job data")
    write_data(folder)
    return folder


@pytest.fixture(scope="session")
def wanted(data, tmp_path_factory):
    """What the workstation makes of the data."""
    folder = tmp_path_factory.mktemp("workstation")
    pick_files(make_settings(values_for(data)), find_micrographs([data / "mics"]), folder)
    return tree(folder)


@pytest.fixture(scope="session")
def exported(data, wanted, tmp_path_factory):
    """A job folder, to be copied; made after the workstation's run, whose plan it carries."""
    folder = tmp_path_factory.mktemp("exported") / "job"
    cluster = make_cluster({"site": "mpirun"})
    export_job(make_settings(values_for(data)), find_micrographs([data / "mics"]), folder, cluster)
    return folder


@pytest.fixture
def job(exported, tmp_path):
    """A job folder that was moved, with results of no other test."""
    return Path(shutil.copytree(exported, tmp_path / "moved job"))


@pytest.fixture
def run():
    """Run a job to its end; returns the process with its output."""

    def go(ranks, folder, *arguments, check=0, env=None, distribution=None):
        if distribution is not None:
            set_distribution(folder, distribution)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        quick = {} if check or "PYTHONPATH" in (env or {}) else {"python": forked_python.words}
        done = subprocess.run(
            command(ranks, folder, *arguments, **quick),
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return go


@pytest.fixture
def slow(tmp_path):
    """What makes reading a micrograph take a while in a job's ranks."""
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import time\n"
        "def _slow():\n"
        "    import napari_gempick.cluster.mpi.micrographs as worker\n"
        "    read = worker.loader\n"
        "    def loader(*args):\n"
        "        time.sleep(0.3)\n"
        "        return read(*args)\n"
        "    worker.loader = loader\n"
        "import os\n"
        "if os.environ.get('GEMPICK_TEST_SLOW'):\n"
        "    _slow()\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]), "GEMPICK_TEST_SLOW": "1"}
