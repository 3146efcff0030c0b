"""Two micrographs with picks and truth, as `gempick pick` and people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from evaluations import some_picks, write_run, write_truth
from napari_gempick.io.formats.relion import write_autopick

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def places() -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack((rng.permutation(np.arange(100, 1300, 60)), rng.integers(100, 900, 20)), axis=1).astype(float)


@pytest.fixture
def results(tmp_path, places) -> Path:
    """A folder of results: a.mrc with 19 of 20 particles and 1 wrong pick, b.mrc with 10 and 2."""
    folder = tmp_path / "out"
    a = np.concatenate((places[:19] + np.array([3, 4]), [[700, 20]]))
    b = np.concatenate((places[:10], [[650, 950], [640, 20]]))
    write_autopick(folder / "a_autopick.star", some_picks(a, [2, *[0] * 9, *[1] * 10]), pixel_size=2.0)
    write_autopick(folder / "b_autopick.star", some_picks(b, [0] * 12), pixel_size=2.0)
    write_run(folder, ["a", "b"])
    return folder


@pytest.fixture
def truth(tmp_path, places) -> Path:
    folder = tmp_path / "truth"
    psi = [f"{(10 * i) % 360}" for i in range(20)]
    write_truth(
        folder / "a_truth.csv", places, view=["top"] + ["side"] * 19, psi=psi, source=["one"] * 5 + ["two"] * 15
    )
    write_truth(folder / "b_truth.csv", places[:10], view=["side"] * 10, psi=psi[:10], source=["two"] * 10)
    return folder
