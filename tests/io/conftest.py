"""Files to read, written byte by byte, so that the readers are not tested against the library they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mrc_files import mrc_bytes
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def write_raw(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, data: np.ndarray, *args: object, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mrc_bytes(data, *args, **options))  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture
def pattern() -> np.ndarray:
    """A (7, 5) image in which no two pixels are alike and no symmetry hides a flip."""
    return np.arange(35, dtype=np.float32).reshape(7, 5)


@pytest.fixture
def some_picks() -> Picks:
    return Picks(
        x=np.array([10.25, 300.0, 7.5]),
        y=np.array([20.125, 0.0, 4095.0]),
        map_x=np.array([5, 150, 4], np.int32),
        map_y=np.array([10, 0, 2047], np.int32),
        score=np.array([0.9, np.float32(1) / 3, -0.25], np.float32),
        k=np.array([12, 179, 0], np.int32),
        view=np.array([0, 1, 0], np.int32),
        section=np.array([0, 2, 1], np.int32),
        psi=np.array([330.0, 0.0, 359.9999]),
    )
