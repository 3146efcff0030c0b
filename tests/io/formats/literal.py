"""Two picks, and how the tests of literal files read and write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import FORMATS, PicksInfo, format_of
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.formats.coordinate_set import CoordinateSet

TWO = Picks(
    x=np.array([132.0, 10.25]),
    y=np.array([232.0, 20.5]),
    map_x=np.array([132, 10], np.int32),
    map_y=np.array([232, 20], np.int32),
    score=np.array([0.5, 0.25], np.float32),
    k=np.array([-1, -1], np.int32),
    view=np.array([1, 0], np.int32),
    section=np.array([2, 0], np.int32),
    psi=np.array([330.0, 90.0]),
)
INFO = PicksInfo(
    pixel_size=1.5,
    box_size=64,
    view_names=("side", "long top"),
    micrograph="Micrographs/mic 1.mrc",
    shape=(400, 500),
    number=3,
)


def read(path: Path, text: str | bytes, **options: object) -> CoordinateSet:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_coordinates(path, **options)  # type: ignore[arg-type]


def written(folder: Path, name: str) -> str:
    made = FORMATS[name]
    path = folder / ("m" + made.suffix)
    made.write(path, TWO, INFO)
    assert format_of(path) is made or name in ("particles", "gempicker-box")
    return path.read_text()


def assert_picks(found: CoordinateSet, **expected: object) -> None:
    for field, values in expected.items():
        np.testing.assert_array_equal(getattr(found.picks, field), np.array(values), err_msg=field)


def spaced(text: str) -> str:
    """RELION and crYOLO end their lines with a blank."""
    return text.replace("\n", " \n")
