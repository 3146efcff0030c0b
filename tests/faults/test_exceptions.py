"""An exception at every exchange of a job: recorded at all ranks, or the job ends soon; never a hang.

Each point once here; GEMPICK_FAULTS=all, or tests/faults/campaign.py, takes every exception at every rank.
"""

import os

import pytest

from faults.points import all_cases, some_cases

ALL = os.environ.get("GEMPICK_FAULTS") == "all"


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_exchange_survives_or_ends_soon(campaign, ranks):
    cases = [case for case in all_cases() if case[5] == ranks] if ALL else some_cases()[ranks // 4]
    rows = campaign.run(cases, again=1 if ALL else 4)
    assert [row for row in rows if row["wrong"]] == []
    if not ALL:
        assert [row["point"] for row in rows if not row["reached"]] == []
    assert sum(row["failed"] > 0 for row in rows) >= len(rows) // 8
