"""400 damaged files, 25 of them through the command line: the same cases each time."""

import subprocess
import sys
from pathlib import Path


def test_damaged_files_give_sound_values_or_one_sentence():
    command = [sys.executable, Path(__file__).with_name("fuzz.py"), "--cases", "400", "--command-line", "25"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "400 cases, seed 1: 0 failures." in done.stdout
