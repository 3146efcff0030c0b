"""Signals to pick, watch and extract; one of each here, GEMPICK_FAULTS=all or tests/faults/commands.py sends 60."""

import os

import pytest

from faults import commands


@pytest.mark.parametrize("what", commands.COMMANDS)
def test_signals_leave_no_half_file_and_resuming_gives_the_same_bytes(tmp_path, plan_cache, monkeypatch, what):
    monkeypatch.setenv("GEMPICK_CACHE", str(plan_cache))
    moments = 60 if os.environ.get("GEMPICK_FAULTS") == "all" else 1
    rows = list(commands.run(tmp_path, moments, seed=3, whats=(what,)))
    assert len(rows) == 3 * moments
    assert [row for row in rows if row["wrong"]] == []
