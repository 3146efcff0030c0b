"""What importing the package costs, and that what is said about it in several places is the same."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

import napari_gempick

ROOT = Path(__file__).parents[1]
HEAVY = {"napari", "qtpy", "PyQt6", "cupy", "mpi4py", "matplotlib", "pydantic"}
LONGEST_IMPORT = 0.3  # s, more than an empty Python


def seconds(program):
    """Best of five runs of a program."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        times.append(time.perf_counter() - started)
    return min(times)


def loaded_by(module):
    """Top-level modules in memory after importing one."""
    program = f"import sys, json; import {module}; print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_import_is_fast():
    assert seconds("import napari_gempick") - seconds("pass") < LONGEST_IMPORT


def test_import_loads_nothing_heavy():
    assert not loaded_by("napari_gempick") & HEAVY


@pytest.mark.parametrize("module", ["engine.matching.workers", "engine.picking.peaks", "engine.matching.pipeline"])
def test_engine_loads_neither_window_nor_gpu_nor_mpi(module):
    assert not loaded_by(f"napari_gempick.{module}") & {"napari", "qtpy", "PyQt6", "cupy", "mpi4py"}


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == citation["version"] == napari_gempick.__version__
    assert project["license"] == citation["license"] == "BSD-3-Clause"


def test_base_dependencies_bring_no_window_gpu_or_mpi():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]}
    assert not names & {"napari", "qtpy", "pyqt6", "pyside6", "magicgui", "superqt", "cupy", "mpi4py"}


def test_make_commands_that_texts_name_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), ROOT / ".ci" / "run"]
    for text in texts:
        named = set(re.findall(r"(?:^|`)make ([a-z]+)(?=`|$| +#| [A-Z])", text.read_text(), flags=re.MULTILINE))
        assert named <= targets, text.name
    assert {"demo", "test", "lint", "docs", "clean"} <= targets


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("exit 1", "Python 3.11 or newer is needed"),
        ('case "$2" in *ensurepip*) exit 1 ;; esac', "Python's venv module is missing"),
    ],
)
def test_make_says_in_one_sentence_what_is_missing(tmp_path, python, sentence):
    for name, script in (("python3", python), ("uv", "exit 1")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    script = tmp_path / "clone" / "tools" / "environment.sh"
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / "tools" / "environment.sh").read_bytes())
    environment = {**os.environ, "PYTHON": "python3", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", str(script), "base"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
