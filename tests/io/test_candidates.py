from __future__ import annotations

import os
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_gempick.io.candidates import Candidates, read_candidates, write_candidates
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.model.errors import InputError
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def candidates(some_picks: Picks) -> Candidates:
    return Candidates(
        picks=replace(some_picks, x=some_picks.x / 3, psi=some_picks.psi / 7),
        view_names=("side view", "top"),
        file_shape=(4096, 5760),
        map_shape=(2048, 2880),
        pixel_size=0.1 + 0.2,
        map_pixel_size=0.6,
        floor=0.15,
    )


def assert_equal(one: Candidates, other: Candidates) -> None:
    assert replace(one, picks=Picks.empty()).__dict__.keys() == replace(other, picks=Picks.empty()).__dict__.keys()
    for field in fields(Picks):
        expected, found = getattr(one.picks, field.name), getattr(other.picks, field.name)
        if expected is None:
            assert found is None
            continue
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    for field in fields(Candidates):
        if field.name != "picks":
            assert getattr(one, field.name) == getattr(other, field.name)


def test_they_come_back_to_the_last_bit(tmp_path: Path, candidates: Candidates) -> None:
    path = tmp_path / "candidates" / "mic.star"
    write_candidates(path, candidates)
    first = path.read_bytes()
    assert_equal(candidates, read_candidates(path))
    write_candidates(path, read_candidates(path))
    assert path.read_bytes() == first
    assert os.listdir(path.parent) == ["mic.star"]


def test_refined_scores_and_that_there_is_none(tmp_path: Path, candidates: Candidates) -> None:
    refined = candidates.picks.score + np.float32(0.01)
    refined[-1] = np.nan
    with_them = replace(candidates, picks=replace(candidates.picks, refined_score=refined))
    write_candidates(tmp_path / "mic.star", with_them)
    assert_equal(with_them, read_candidates(tmp_path / "mic.star"))
    text = (tmp_path / "mic.star").read_text()
    assert " nan" not in text.lower()
    (tmp_path / "mic.star").write_text(text.replace(" none", " 7.5"))
    with pytest.raises(InputError, match="gempickRefinedScore"):
        read_candidates(tmp_path / "mic.star")


def test_none_at_all(tmp_path: Path, candidates: Candidates) -> None:
    empty = replace(candidates, picks=Picks.empty())
    write_candidates(tmp_path / "mic.star", empty)
    assert_equal(empty, read_candidates(tmp_path / "mic.star"))


def test_they_are_coordinates_too(tmp_path: Path, candidates: Candidates) -> None:
    write_candidates(tmp_path / "mic.star", candidates)
    read = read_coordinates(tmp_path / "mic.star")
    assert read.view_names == candidates.view_names
    for name in ("x", "y", "score", "view", "section"):
        np.testing.assert_array_equal(getattr(read.picks, name), getattr(candidates.picks, name))


def test_another_star_file_is_refused(tmp_path: Path, candidates: Candidates) -> None:
    path = tmp_path / "mic.star"
    write_candidates(path, candidates)
    text = path.read_text()
    for damage in (text.replace("_gempickFloor 0.15\n", ""), text.replace("data_views", "data_v"), "data_\n_a 1\n"):
        path.write_text(damage)
        with pytest.raises(InputError, match=r"mic\.star is not a candidate file of this program"):
            read_candidates(path)
    path.write_text(text[: len(text) - 20])
    with pytest.raises(InputError, match=r"mic\.star is not a readable STAR file"):
        read_candidates(path)


def test_decoys_are_left_out_where_nobody_wants_them(tmp_path: Path, candidates: Candidates) -> None:
    write_candidates(tmp_path / "mic.star", replace(candidates, decoys=candidates.picks))
    assert read_candidates(tmp_path / "mic.star").decoys is not None
    assert_equal(candidates, read_candidates(tmp_path / "mic.star", decoys=False))


def test_forty_thousand_are_fast(tmp_path: Path, candidates: Candidates) -> None:
    n = 40_000
    random = np.random.default_rng(0)
    many = Picks(
        x=random.uniform(0, 4000, n),
        y=random.uniform(0, 4000, n),
        map_x=random.integers(0, 1000, n, dtype=np.int32),
        map_y=random.integers(0, 1000, n, dtype=np.int32),
        score=np.sort(random.uniform(-1, 1, n).astype(np.float32))[::-1].copy(),
        k=random.integers(0, 180, n, dtype=np.int32),
        view=random.integers(0, 2, n, dtype=np.int32),
        section=random.integers(0, 2, n, dtype=np.int32),
        psi=random.uniform(0, 360, n),
    )
    start = time.process_time()
    write_candidates(tmp_path / "mic.star", replace(candidates, picks=many))
    middle = time.process_time()
    read = read_candidates(tmp_path / "mic.star")
    end = time.process_time()
    np.testing.assert_array_equal(read.picks.x, many.x)
    print(middle - start, end - middle, (tmp_path / "mic.star").stat().st_size)
    assert (middle - start < 3) and (end - middle < 3)  # below 1 s each on an idle machine
