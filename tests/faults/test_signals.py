"""Signals to a running job; a few here, GEMPICK_FAULTS=all or tests/faults/signals.py sends 60 of each."""

import os

from faults import signals


def test_signals_leave_no_half_file_and_no_process(campaign):
    moments = 60 if os.environ.get("GEMPICK_FAULTS") == "all" else 1
    rows = list(signals.run(campaign, moments, seed=7))
    assert len(rows) == 3 * moments
    assert [row for row in rows if row["wrong"]] == []
