"""One small job for all tests of faults."""

import pytest

from faults.campaign import Campaign


@pytest.fixture(scope="session")
def campaign(tmp_path_factory, plan_cache):
    return Campaign(tmp_path_factory.mktemp("faults") / "campaign")
