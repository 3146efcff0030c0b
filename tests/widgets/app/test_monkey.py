"""A monkey at the window: nothing is raised, nothing half-written, the session can always be restored."""

import pytest
from monkey import Monkey, no_dialogs

STEPS = 120


@pytest.mark.errors_are_said  # that names cannot be used
def test_a_monkey_at_the_window(hidden_viewer, tmp_path, monkeypatch):
    """The first steps of `python tests/widgets/monkey.py --seed 3`, which goes on for 20,000."""
    no_dialogs(monkeypatch.setattr, tmp_path)
    Monkey(hidden_viewer, tmp_path, 3).run(STEPS)
