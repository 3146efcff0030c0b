"""What each format can hold comes back from it; the same bytes for the same picks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.formats.coordinate_set import CoordinateSet

SHAPE = (3838, 3710)
CORNERS = st.sampled_from([0.0, 3709.0, 3837.0, -0.5, 1854.5])
VIEWS = ("side", "long top", "ü")
STEPS = {"box": 0.5, "gempicker-box": 0.5, "xmipp": 0.5, "topaz": 0.5, "cs": 5e-4}
"""Largest change of a position, px; 0.0005 where it is not named."""
NAMES = ("grid 1/mic 1.mrc", "grid 2/mic 1.mrc", "é#'.mrc", "a/b/data_x.mrc")


@dataclass
class Case:
    """What the number of unknown things depends on."""

    picks: Picks
    box: int | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(0, 4))

    def column(dtype: str, elements: st.SearchStrategy) -> np.ndarray:
        return draw(hnp.arrays(dtype, n, elements=elements))

    def known_or(dtype: str, elements: st.SearchStrategy, unknown: float) -> np.ndarray:
        return column(dtype, elements) if draw(st.booleans()) else np.full(n, unknown, dtype)

    x, y = (column("f8", st.floats(-100, 4000) | CORNERS) for _ in range(2))
    picks = Picks(
        x=x,
        y=y,
        map_x=np.rint(x).astype("i4"),
        map_y=np.rint(y).astype("i4"),
        score=known_or("f4", st.floats(-1, 1, width=32).filter(bool), np.nan),
        k=np.full(n, -1, "i4"),
        view=column("i4", st.integers(0, 2)),
        section=known_or("i4", st.integers(0, 50), -1),
        psi=known_or("f8", st.floats(-720, 720), np.nan),
    )
    return Case(picks, draw(st.sampled_from([63, 64, 180, 181])))


def assert_kept(name: str, found: CoordinateSet, case: Case) -> None:
    """Compare what the format says that it keeps."""
    picks, was, loses = found.picks, case.picks, FORMATS[name].loses
    step = STEPS.get(name, 5.1e-4)
    np.testing.assert_allclose(picks.x, was.x, atol=step, rtol=0)
    np.testing.assert_allclose(picks.y, was.y, atol=step, rtol=0)
    assert ("position" in loses) == (step == 0.5)
    if "score" in loses:
        assert np.isnan(picks.score).all()
    else:
        np.testing.assert_array_equal(picks.score, was.score)
    np.testing.assert_array_equal(picks.section, -1 if "class" in loses else was.section)
    if "psi" in loses:
        assert np.isnan(picks.psi).all()
    else:
        np.testing.assert_array_equal(np.isnan(picks.psi), np.isnan(was.psi))
        turn = (picks.psi - was.psi + 180) % 360 - 180
        np.testing.assert_allclose(np.nan_to_num(turn), 0, atol=5.1e-4)
    if "view" not in loses:
        shown = [view.replace(" ", "_") if name == "gempicker" else view for view in VIEWS]
        assert [found.view_names[view] for view in picks.view] == [shown[view] for view in was.view]
    if len(picks):
        assert found.common("box_size") == (None if "box size" in loses else case.box)


@pytest.mark.parametrize("name", FORMATS)
@given(case=cases())
def test_one_micrograph(tmp_path: Path, name: str, case: Case) -> None:
    made = FORMATS[name]
    path = tmp_path / ("m 1" + made.suffix)
    info = PicksInfo(1.5, case.box, VIEWS, "m 1.mrc", SHAPE)
    path.unlink(missing_ok=True)
    made.write(path, case.picks, info)
    assert_kept(name, read_coordinates(path, name, SHAPE), case)
    first = path.read_bytes()
    made.write(path, case.picks, info)
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", [name for name, made in FORMATS.items() if made.set_writer is not None])
@given(several=st.lists(cases(), max_size=4))
def test_a_data_set(tmp_path: Path, name: str, several: list[Case]) -> None:
    made = FORMATS[name]
    path = tmp_path / ("all" + made.suffix)
    box = several[0].box if several else None
    several = [replace(case, box=box) for case in several]
    known = {"class": all((case.picks.section >= 0).all() for case in several), "psi": True}
    if name == "cs" and not known["class"]:
        several = [replace(case, picks=replace(case.picks, section=case.picks.section * 0)) for case in several]
    sets = [(case.picks, PicksInfo(1.5, box, VIEWS, NAMES[i], SHAPE, i + 1)) for i, case in enumerate(several)]
    assert made.set_writer is not None
    made.write_set(path, sets)
    parts = read_coordinates(path, name).by_micrograph()
    for (_, info), case in zip(sets, several, strict=True):
        stem = info.micrograph.removesuffix(".mrc")
        # Topaz writes the folder only where it is needed
        found = parts.pop(info.micrograph, None) or parts.pop(stem, None) or parts.pop(stem.split("/")[-1], None)
        if len(case.picks):
            assert found is not None
            assert_kept(name, found, case)
            if name in ("particles", "cs"):
                assert found.common("pixel_size") == 1.5
    assert list(parts) in ([], [""])


@pytest.mark.parametrize("name", FORMATS)
def test_no_picks(tmp_path: Path, name: str) -> None:
    path = tmp_path / ("m" + FORMATS[name].suffix)
    FORMATS[name].write(path, Picks.empty(), PicksInfo(1.5, 64, (), "m.mrc", SHAPE))
    found = read_coordinates(path, name, SHAPE)
    assert (len(found.picks), list(found.by_micrograph())) == (0, [""])


def test_what_is_needed_is_asked_for(tmp_path: Path, some_picks: Picks) -> None:
    for name, made in FORMATS.items():
        try:
            made.write(tmp_path / ("m" + made.suffix), some_picks, PicksInfo())
        except SettingsError as error:
            assert ("size of the micrograph" if made.needs_shape else "need a box size") in error.sentence, name
        else:
            assert not made.needs_shape
