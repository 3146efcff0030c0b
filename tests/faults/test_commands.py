"""Signals to pick, watch and extract; one of each here, GEMPICK_FAULTS=all or tests/faults/commands.py sends 60."""

import os

import pytest

from faults import commands


@pytest.mark.parametrize("what", commands.COMMANDS)
def test_signals_leave_no_half_file_and_resuming_gives_the_same_bytes(tmp_path, plan_cache, monkeypatch, what):
    monkeypatch.setenv("GEMPICK_CACHE", str(plan_cache))
    every = os.environ.get("GEMPICK_FAULTS") == "all"
    moments, names = (60 if every else 1), tuple(commands.STATUS)
    if what == "watch" and not every:
        names = ("SIGKILL",)  # tests/cli sends it the others
    rows = list(commands.run(tmp_path, moments, seed=3, whats=(what,), names=names))
    assert len(rows) == len(names) * moments
    assert [row for row in rows if row["wrong"]] == []
