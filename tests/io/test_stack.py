from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers import no_space
from napari_gempick.io.stack import read_map, read_mask, read_stack, write_mrc
from napari_gempick.model.errors import InputError, OutputError

Writer = Callable[..., Path]


@pytest.fixture
def cube() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(6, 6, 6)).astype(np.float32)


def test_one_image_becomes_a_stack_of_one(write_raw: Writer, pattern: np.ndarray, tmp_path: Path) -> None:
    stack = read_stack(write_raw("t.mrc", pattern.astype("i2")))
    assert (stack.data.shape, stack.data.dtype, stack.pixel_size) == ((1, 7, 5), np.float32, 1.5)
    assert stack.data.flags.c_contiguous
    tifffile.imwrite(tmp_path / "t.tif", pattern)
    np.testing.assert_array_equal(read_stack(tmp_path / "t.tif").data, pattern[None])


@pytest.mark.filterwarnings("ignore:.*stored as RGB:DeprecationWarning")
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_tiff_stacks_of_any_length(tmp_path: Path, pattern: np.ndarray, count: int) -> None:
    data = np.stack([pattern + number for number in range(count)])
    tifffile.imwrite(tmp_path / "t.tif", data)
    np.testing.assert_array_equal(read_stack(tmp_path / "t.tif").data, data)


def test_only_a_cube_with_the_volume_space_group_is_a_volume(write_raw: Writer, cube: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"3D map of 6³ voxels.*2D.*project it first"):
        read_stack(write_raw("map.mrc", cube, ispg=1))
    with pytest.raises(InputError, match="3D map"):
        read_mask(write_raw("map.map", np.abs(cube) % 1, ispg=1))
    for name, data, ispg in (("t.mrcs", cube, 1), ("t.mrc", cube, 0), ("u.mrc", cube[:5], 1)):
        np.testing.assert_array_equal(read_stack(write_raw(name, data, ispg=ispg)).data, data)


def test_bad_sections_are_named_from_one(write_raw: Writer, cube: np.ndarray) -> None:
    bad = cube[:4].copy()
    bad[2, 0, 0] = np.inf
    with pytest.raises(InputError, match="section 3 has 1 NaN or infinite"):
        read_stack(write_raw("t.mrcs", bad))


def test_empty_sections_are_left_out_with_one_note(write_raw: Writer, cube: np.ndarray) -> None:
    flat = cube.copy()
    flat[1], flat[3:5] = 7, 0
    path = write_raw("t.mrcs", flat)
    stack = read_stack(path)
    np.testing.assert_array_equal(stack.data, cube[[0, 2, 5]])
    assert stack.notes == (f"{path}: sections 2, 4, 5 are empty and were left out.",)
    assert stack.names == tuple(f"section {number} of {path}" for number in (1, 3, 6))
    assert read_stack(f"{path}[6,2]").notes == (f"{path}[6,2]: section 2 is empty and was left out.",)
    with pytest.raises(InputError, match=r"t\.mrcs\[2,4\] is empty: every pixel of each image has the same value"):
        read_stack(f"{path}[2,4]")
    masks = write_raw("m.mrcs", (np.abs(flat) % 1 > 0).astype("i1"))
    with pytest.raises(InputError, match="empty in section 2"):
        read_mask(masks)
    assert len(read_mask(masks, kept=(stack.kept, stack.listed)).data) == 3  # those of the templates that are left
    assert len(read_mask(f"{masks}[1,3,6]", kept=(stack.kept, stack.listed)).data) == 3


def test_pixel_size_of_templates(write_raw: Writer, pattern: np.ndarray) -> None:
    path = write_raw("t.mrc", pattern, (0.05, 0.05, 0.05))
    with pytest.raises(InputError, match="--template-pixel-size"):
        read_stack(path)
    assert read_stack(path, pixel_size=2).pixel_size == 2.0
    assert read_stack(write_raw("u.mrc", pattern, (0.0, 0.0, 0.0))).pixel_size is None
    stack = np.stack([pattern, pattern])
    assert read_stack(write_raw("s.mrc", stack, (2.0, 2.0, 7.0), ispg=1)).pixel_size == 2.0


def test_mask_weights(write_raw: Writer) -> None:
    mask = np.zeros((2, 6, 6), np.float32)
    mask[:, 2:4, 2:4] = 1 + 5e-7
    mask[:, 1, 1] = -5e-7
    read = read_mask(write_raw("m.mrc", mask)).data
    assert (read.min(), read.max()) == (0, 1)
    assert read_mask(write_raw("full.mrc", np.ones((6, 6), "i1"))).data.all()
    with pytest.raises(InputError, match=r"the mask .*values from -1e-06 to 2.*between 0 and 1"):
        read_mask(write_raw("m.mrc", mask * np.array([1, 2], np.float32)[:, None, None]))
    with pytest.raises(InputError, match=r"m\.mrc is empty in section 2"):
        read_mask(write_raw("m.mrc", mask * np.array([1, 0], np.float32)[:, None, None]))
    with pytest.raises(InputError, match=r"e\.mrc is empty: all"):
        read_mask(write_raw("e.mrc", np.zeros((6, 6), "i1")))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.sampled_from(["i1", "i2", "u2", "f2", "f4"]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
            elements={"min_value": -1e4, "max_value": 1e4} if dtype.startswith("f") else None,
        )
    ),
    pixel_size=st.floats(0.1, 50).map(lambda value: float(f"{value:.6g}")),
    stack=st.booleans(),
)
def test_written_files_are_valid_and_come_back(
    tmp_path: Path, data: np.ndarray, pixel_size: float, stack: bool
) -> None:
    path = tmp_path / "out.mrc"
    write_mrc(path, data, pixel_size, stack=stack)
    first = path.read_bytes()
    write_mrc(path, data, pixel_size, stack=stack)
    assert path.read_bytes() == first
    with mrcfile.open(path) as mrc:
        assert mrc.data.dtype == data.dtype
        np.testing.assert_array_equal(mrc.data.reshape(data.shape), data)  # a stack of one is 2D to mrcfile
        assert float(mrc.voxel_size.x) == pytest.approx(pixel_size, rel=1e-6)
        if data.ndim == 3 and len(data) > 1:
            assert (mrc.is_image_stack(), mrc.is_volume()) == (stack, not stack)
        assert (int(mrc.header.nlabl), mrc.get_labels()) == (1, ["napari-gempick"])
    assert os.listdir(tmp_path) == ["out.mrc"]


def test_no_time_stamp_in_what_is_written(tmp_path: Path, cube: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mrc(tmp_path / "a.mrc", cube, 2.0)

    class AnotherTime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime(1999, 12, 31, tzinfo=tz)

    monkeypatch.setattr(mrcfile.mrcobject, "datetime", AnotherTime)  # mrcfile's own label has the time
    write_mrc(tmp_path / "b.mrc", cube, 2.0)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


def test_wider_types_are_narrowed_and_others_refused(tmp_path: Path, pattern: np.ndarray) -> None:
    for dtype, written in (("f8", "f4"), ("u1", "u2"), ("?", "i1")):
        write_mrc(tmp_path / "a.mrc", pattern.astype(dtype), None)
        assert mrcfile.read(tmp_path / "a.mrc").dtype == written
    for wrong in (pattern.astype("i8"), pattern[0]):
        with pytest.raises(ValueError, match=r"MRC holds|dtype"):
            write_mrc(tmp_path / "b.mrc", wrong, 1.0)
    assert os.listdir(tmp_path) == ["a.mrc"]


def test_a_failed_write_leaves_the_old_map(
    tmp_path: Path, pattern: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mrc(tmp_path / "a.mrc", pattern, 1.0)
    old = (tmp_path / "a.mrc").read_bytes()

    monkeypatch.setattr(mrcfile.mrcfile.MrcFile, "set_data", no_space)
    with pytest.raises(OutputError, match=r"a\.mrc: No space left"):
        write_mrc(tmp_path / "a.mrc", pattern + 1, 1.0)
    assert (tmp_path / "a.mrc").read_bytes() == old
    assert os.listdir(tmp_path) == ["a.mrc"]


def test_map3d(write_raw: Writer, cube: np.ndarray, pattern: np.ndarray) -> None:
    data, pixel_size = read_map(write_raw("map.mrc", cube[:4], (2.5, 2.5, 2.5), ispg=1))
    np.testing.assert_array_equal(data, cube[:4])
    assert pixel_size == 2.5
    with pytest.raises(InputError, match="2D image, but a 3D map is needed"):
        read_map(write_raw("t.mrc", pattern))
    with pytest.raises(InputError, match=r"unequal pixel sizes, 2\.5 x 2\.5 x 3"):
        read_map(write_raw("map.mrc", cube[:4], (2.5, 2.5, 3.0), ispg=1))


def test_ccp4_axis_orders_are_put_right(write_raw: Writer) -> None:
    data = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)  # z, y, x
    stored = data.transpose(2, 1, 0)  # columns are z, sections are x
    read, _ = read_map(write_raw("map.map", stored, ispg=1, axes=(3, 2, 1)))
    np.testing.assert_array_equal(read, data)
    stored = data.transpose(1, 0, 2)  # columns x, rows z, sections y
    read, _ = read_map(write_raw("map.map", stored, ispg=1, axes=(1, 3, 2)))
    np.testing.assert_array_equal(read, data)
    assert read.flags.c_contiguous


@pytest.mark.realdata
def test_real_averages_and_maps(real_data: Path) -> None:
    average = read_stack(real_data / "klh/klh_side_average_4.4A.mrc")
    assert (average.data.shape, average.pixel_size) == ((1, 128, 128), 4.4)
    data, pixel_size = read_map(real_data / "betagal/betagal_map_3.54A.mrc")
    assert (data.shape, pixel_size) == ((80, 80, 80), 3.54)
    with pytest.raises(InputError, match="project it first"):
        read_stack(real_data / "betagal/betagal_map_3.54A.mrc")


def test_sections_are_chosen_by_number(tmp_path):
    data = np.random.default_rng(0).standard_normal((6, 5, 5)).astype(np.float32)
    data[3] = 1.0
    write_mrc(tmp_path / "classes.mrcs", data, 2.0, stack=True)
    for text, rows in (("1,3,5-6", [0, 2, 4, 5]), ("^4", [0, 1, 2, 4, 5]), ("6,1", [5, 0]), ("^4-6", [0, 1, 2])):
        stack = read_stack(f"{tmp_path}/classes.mrcs[{text}]")
        assert np.array_equal(stack.data, data[rows]) and stack.pixel_size == 2.0
    for text in ("0", "7", "2-9", "5-2", "^1-6", "1-", "1-999999999999"):
        with pytest.raises(InputError, match=r"classes.mrcs\["):
            read_stack(f"{tmp_path}/classes.mrcs[{text}]")
    assert read_stack(tmp_path / "classes.mrcs").kept == (0, 1, 2, 4, 5)
    assert np.array_equal(read_stack(f"000003@{tmp_path}/classes.mrcs").data, data[2:3])
    write_mrc(tmp_path / "odd[1].mrc", data[0], 2.0)
    assert len(read_stack(tmp_path / "odd[1].mrc").data) == 1
