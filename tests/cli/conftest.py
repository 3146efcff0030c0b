"""A small data set on disk and the command line as a subprocess."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner

import forked_python
from helpers import Blobs
from napari_gempick.io.stack import write_mrc

PLANTED = {(60.3, 60.7): 0.0, (180.2, 70.1): 60.0, (70.0, 190.4): 120.0, (190.6, 180.2): 210.0}
"""Centre (x, y) in pixels: psi in degrees."""


@cache
def micrograph(seed, scale=1.0):
    noise = np.random.default_rng(seed).standard_normal((250, 260)).astype(np.float32)
    return -scale * Blobs.image((250, 260), 2.0, list(PLANTED), list(PLANTED.values())) + 0.3 * noise


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three micrographs (two of the same name in two folders), a template and a mask; the current folder."""
    for number, name in enumerate(("grid1/mic.mrc", "grid2/mic.mrc", "grid2/other.mrc")):
        write_mrc(tmp_path / name, micrograph(number), 2.0)
    template = -Blobs.image((88, 88), 2.0, [(44, 44)])
    write_mrc(tmp_path / "particle.mrc", template, 2.0)
    y, x = np.mgrid[-44:44, -44:44]
    write_mrc(tmp_path / "mask.mrc", (np.hypot(x, y) <= 32).astype(np.float32), 2.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_process(arguments):
    """Run the command here; quicker than a process of its own."""
    from napari_gempick.cli import main

    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def gempick(plan_cache):
    """Run the command, in a process of its own where asked for; returns it with stdout and stderr."""

    def run(*arguments, check=None, env=None, own_process=False):
        arguments = [str(argument) for argument in arguments]
        if own_process or env:
            words = ["-m", "napari_gempick", *arguments]
            command = [sys.executable, *words] if env else forked_python.words(*words)
            env = {**os.environ, "GEMPICK_CACHE": str(plan_cache), **(env or {})}
            done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
            assert "Traceback" not in done.stderr, done.stderr
        else:
            done = in_process(arguments)
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return run


BASIC = ("--templates", "particle=particle.mrc", "--mask", "circle:130", "--angle-step", "15", "--threshold", "0.5")


@pytest.fixture
def planted():
    return PLANTED


@pytest.fixture
def basic():
    return BASIC


def tree(folder, without=("run.json", "gempick.log")):
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in without
    }


@pytest.fixture
def contents():
    return tree
