"""What all tests share: a private plan cache, the real data, small helpers."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "gempick", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("nightly", parent=settings.get_profile("gempick"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gempick"))


TOGETHER = {"tests/widgets": "window", "tests/job/cluster": "ranks", "tests/faults": "ranks"}
"""Folders whose tests take turns: those of the window for the screen and its focus, those of MPI for the cores."""
FIRST = ("window", "ranks", "tests/test_fuzz.py")
"""What takes longest is begun first, so that the workers end together."""


def group_of(item):
    """Name of the tests that one worker runs in their order: those of a file, or of several folders."""
    path = item.path.relative_to(item.config.rootpath)
    return next((name for folder, name in TOGETHER.items() if path.is_relative_to(folder)), path.as_posix())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Group the tests for the workers of pytest-xdist (make test)."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=lambda item: FIRST.index(group_of(item)) if group_of(item) in FIRST else len(FIRST))


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
