"""What all tests share: a private plan cache, the real data, small helpers."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""The workers share the cores already. They get it before they load NumPy; one process alone, before SciPy."""

settings.register_profile(
    "gempick", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("nightly", parent=settings.get_profile("gempick"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gempick"))

TOGETHER = {
    "tests/widgets/": "window",
    "tests/cluster/test_slurm.py": "slurm",
    "tests/cluster/": "ranks",
    "tests/faults/": "ranks",
}
"""Tests that take turns: those of the window for the screen and its focus, those of MPI for the cores."""
FIRST = ("window", "ranks", "slurm", "tests/test_pages.py", "tests/test_fuzz.py", "tests/test_real_data.py")
"""What takes longest is begun first, so that the workers end together."""


def group_of(nodeid):
    """Name of the tests that one worker runs in their order: those of a file, or of several folders."""
    return next((name for start, name in TOGETHER.items() if nodeid.startswith(start)), nodeid.split("::")[0])


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(name) if (name := group_of(item.nodeid)) in FIRST else len(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Share the tests out by their groups, in the order of the collection (make test, pytest -n 2)."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return Groups(config, log)


@pytest.fixture(scope="session", autouse=True)
def plan_cache(tmp_path_factory):
    """Stored plans of the test run, apart from the user's."""
    folder = tmp_path_factory.mktemp("plans")
    os.environ["GEMPICK_CACHE"] = str(folder)
    yield folder
    del os.environ["GEMPICK_CACHE"]


@pytest.fixture(scope="session")
def plans(plan_cache):
    from napari_gempick.device.plan import PlanStore

    return PlanStore()


def real_data_folder():
    """Folder of the real micrographs, None where they are absent."""
    given = os.environ.get("GEMPICK_TEST_DATA")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared" / "data"
    return folder if (folder / "klh" / "klh_001.mrc").exists() else None


@pytest.fixture(scope="session")
def real_data():
    folder = real_data_folder()
    if folder is None:
        message = "no real micrographs: set GEMPICK_TEST_DATA or put them at ../shared/data"
        if os.environ.get("CI") and not os.environ.get("GEMPICK_ALLOW_SKIP"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
