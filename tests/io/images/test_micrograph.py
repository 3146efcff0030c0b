from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from napari_gempick.io.images.micrograph import as_float32, read_micrograph, require_pixel_size
from napari_gempick.model.errors import InputError

Writer = Callable[..., Path]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
def test_every_mode_and_byte_order(write_raw: Writer, pattern: np.ndarray, dtype: str, order: str) -> None:
    path = write_raw("m.mrc", pattern.astype(dtype), order=order, extended=b"x" * 96)
    micrograph = read_micrograph(path)
    assert not isinstance(micrograph.data, np.memmap)  # a mapped file that is truncated ends the process
    assert micrograph.data.dtype.str[1:] == dtype
    assert (micrograph.pixel_size, micrograph.pixel_size_source) == (1.5, "MRC header")
    with mrcfile.open(path) as mrc:
        np.testing.assert_array_equal(micrograph.data, mrc.data)
    np.testing.assert_array_equal(as_float32(micrograph)[0], pattern)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"DA\0\0", b"\x11\x11\0\0", b"DD\0\0"])
def test_a_missing_or_wrong_machine_stamp_is_harmless(
    write_raw: Writer, pattern: np.ndarray, order: str, stamp: bytes
) -> None:
    path = write_raw("m.mrc", pattern, order=order, stamp=stamp)
    np.testing.assert_array_equal(read_micrograph(path).data, pattern)


def test_no_map_stamp_and_trailing_bytes_are_harmless(write_raw: Writer, pattern: np.ndarray) -> None:
    path = write_raw("m.mrc", pattern)
    content = bytearray(path.read_bytes())
    content[208:212] = bytes(4)
    path.write_bytes(content + b"more")
    np.testing.assert_array_equal(read_micrograph(path).data, pattern)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed(write_raw: Writer, pattern: np.ndarray, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    content = compress(write_raw("m.mrc", pattern).read_bytes())
    path = write_raw("m.mrc" + suffix, pattern)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_micrograph(path).data, pattern)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"truncated or corrupt.*copy it again"):
        read_micrograph(path)
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"m\.mrc"):
        read_micrograph(path)


def test_a_truncated_file_says_how_many_bytes_are_there(write_raw: Writer, pattern: np.ndarray) -> None:
    path = write_raw("m.mrc", pattern)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"1163 bytes are there, 1164 expected \(5 x 7 x 1 pixels, mode 2\)"):
        read_micrograph(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "has 5 bytes"),
        (b"\x89PNG\r\n\x1a\n" * 200, "is a PNG picture"),
        (b"one line of text\n" * 100, "neither an MRC nor a TIFF"),
        (b"II*\x00" + b"\xff" * 2000, "cannot be decoded"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "my file.mrc"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"my file\.mrc.*{message}") as caught:
        read_micrograph(path)
    assert caught.value.path == str(path)


def test_missing_folder_and_unreadable(
    tmp_path: Path, write_raw: Writer, pattern: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_micrograph(tmp_path / "gone.mrc")
    with pytest.raises(InputError, match="is a folder"):
        read_micrograph(tmp_path)
    path = write_raw("m.mrc", pattern)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot be read: Permission denied; check its permissions"):
        read_micrograph(path)


@pytest.mark.parametrize(("mode", "message"), [(4, "Fourier transform"), (16, "RGB"), (3, "complex")])
def test_other_modes(write_raw: Writer, pattern: np.ndarray, mode: int, message: str) -> None:
    with pytest.raises(InputError, match=rf"MRC mode {mode} \(.*{message}.*mode 2"):
        read_micrograph(write_raw("m.mrc", pattern, mode=mode))


def test_one_section_is_a_micrograph_and_two_are_not(write_raw: Writer, pattern: np.ndarray, tmp_path: Path) -> None:
    assert read_micrograph(write_raw("m.mrc", pattern[None])).data.shape == (7, 5)
    with pytest.raises(InputError, match=r"holds 2 sections.*stack or a movie"):
        read_micrograph(write_raw("s.mrc", np.stack([pattern, pattern])))
    tifffile.imwrite(tmp_path / "s.tif", np.stack([pattern, pattern]))
    with pytest.raises(InputError, match="holds 2 sections"):
        read_micrograph(tmp_path / "s.tif")


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ((0.05, 0.05, 1.0), r"0\.05 Å, which is implausible and looks like nm \(0\.5 Å\); .*--pixel-size"),
        ((1.5e-10, 1.5e-10, 1.5e-10), r"looks like metres \(1\.5 Å\)"),
        ((177.0, 177.0, 1.0), r"looks like pm \(1\.77 Å\)"),
        ((1e6, 1e6, 1.0), "implausible; give"),
        ((-1.5, -1.5, 1.0), "-1.5 x -1.5"),
        ((1.5, 0.0, 1.0), "1.5 x 0 "),
        ((float("nan"), float("nan"), 1.0), "nan"),
        ((1.0, 1.02, 1.0), "unequal"),
    ],
)
def test_a_nonsensical_pixel_size_is_an_error_unless_one_is_given(
    write_raw: Writer, pattern: np.ndarray, spacing: tuple[float, float, float], message: str
) -> None:
    path = write_raw("m.mrc", pattern, spacing)
    with pytest.raises(InputError, match=message):
        read_micrograph(path)
    micrograph = read_micrograph(path, pixel_size=1.25)
    assert (require_pixel_size(micrograph), micrograph.pixel_size_source) == (1.25, "given")


def test_no_pixel_size(write_raw: Writer, pattern: np.ndarray) -> None:
    micrograph = read_micrograph(write_raw("m.mrc", pattern, (0.0, 0.0, 0.0)))
    assert (micrograph.pixel_size, micrograph.pixel_size_source) == (None, "")
    with pytest.raises(InputError, match=r"m\.mrc has no pixel size in its header; give --pixel-size in Å"):
        require_pixel_size(micrograph)


def test_the_header_is_read_to_six_digits(write_raw: Writer, pattern: np.ndarray) -> None:
    assert read_micrograph(write_raw("m.mrc", pattern, (1.77, 1.77, 0.0))).pixel_size == 1.77


def test_one_angstrom_on_a_whole_detector_is_a_warning(write_raw: Writer) -> None:
    path = write_raw("m.mrc", np.zeros((3000, 3000), "i1"), (1.0, 1.0, 1.0))
    micrograph = read_micrograph(path)
    assert micrograph.pixel_size == 1.0
    assert "says 1.0 Å, which is often a placeholder" in micrograph.warnings[0]
    assert read_micrograph(path, pixel_size=1.0).warnings == ()
    assert read_micrograph(write_raw("n.mrc", np.zeros((30, 3000), "i1"), (1.0, 1.0, 1.0))).warnings == ()


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"compression": "zlib"}, {"bigtiff": True}])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4", "f8"])
def test_tiff(tmp_path: Path, pattern: np.ndarray, dtype: str, options: dict[str, object]) -> None:
    path = tmp_path / "m.tif"
    resolution = ((200_000_000, 3),) * 2  # dots per cm
    tifffile.imwrite(path, pattern.astype(dtype), resolution=resolution, resolutionunit=3, **options)
    micrograph = read_micrograph(path)
    assert (micrograph.pixel_size, micrograph.pixel_size_source) == (1.5, "TIFF resolution tag")
    np.testing.assert_array_equal(as_float32(micrograph)[0], pattern)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"m\.tif"):
        read_micrograph(path)


def test_the_pixel_sizes_of_a_tiff_are_those_of_x_and_y(tmp_path: Path, pattern: np.ndarray) -> None:
    resolution = ((200_000_000, 3), (100_000_000, 3))
    tifffile.imwrite(tmp_path / "m.tif", pattern, resolution=resolution, resolutionunit=3)
    with pytest.raises(InputError, match=r"unequal pixel sizes, 1\.5 x 3 Å"):
        read_micrograph(tmp_path / "m.tif")


def test_imagej_pixel_size(tmp_path: Path, pattern: np.ndarray) -> None:
    for unit, per_angstrom in (("nm", 0.1), ("micron", 1e-4), ("Angstrom", 1.0), ("\\u00B5m", 1e-4)):
        resolution = (1 / (1.25 * per_angstrom),) * 2
        tifffile.imwrite(tmp_path / "m.tif", pattern, imagej=True, resolution=resolution, metadata={"unit": unit})
        assert read_micrograph(tmp_path / "m.tif").pixel_size == pytest.approx(1.25, rel=1e-5)


def test_72_dots_an_inch_is_no_pixel_size(tmp_path: Path, pattern: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "m.tif", pattern, resolution=(72, 72), resolutionunit=2)
    assert read_micrograph(tmp_path / "m.tif").pixel_size is None


def test_colour_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((20, 30, 3), "u1"), photometric="rgb")
    with pytest.raises(InputError, match="not a grey-scale image"):
        read_micrograph(tmp_path / "m.tif")


@pytest.mark.parametrize(("order", "shared"), [(">", False), ("<", True)])
def test_as_float32_never_lets_the_pixels_of_the_file_be_changed(
    write_raw: Writer, pattern: np.ndarray, order: str, shared: bool
) -> None:
    """They are copied, or read-only where they are single precision already."""
    micrograph = read_micrograph(write_raw("m.mrc", pattern, order=order))
    data, n_replaced = as_float32(micrograph)
    assert (data.dtype, n_replaced) == (np.float32, 0)
    assert data.flags.c_contiguous and np.may_share_memory(data, micrograph.data) == shared
    with pytest.raises(ValueError, match="read-only") if shared else nullcontext():
        data[0, 0] = 1


def test_bad_pixels(write_raw: Writer, pattern: np.ndarray) -> None:
    pattern[0, :3] = np.nan, np.inf, -np.inf
    micrograph = read_micrograph(write_raw("m.mrc", pattern))
    with pytest.raises(InputError, match=r"has 3 NaN or infinite pixels; replace them or use --bad-pixels replace"):
        as_float32(micrograph)
    data, n_replaced = as_float32(micrograph, bad_pixels="replace")
    assert n_replaced == 3
    np.testing.assert_array_equal(data[0, :3], np.float32(np.median(np.arange(3, 35))))
    np.testing.assert_array_equal(data.ravel()[3:], pattern.ravel()[3:])


def test_nothing_to_pick(write_raw: Writer, pattern: np.ndarray) -> None:
    with pytest.raises(InputError, match="constant: every pixel is 7; there is nothing to pick"):
        as_float32(read_micrograph(write_raw("c.mrc", np.full((7, 5), 7, "i2"))))
    with pytest.raises(InputError, match="only NaN"):
        as_float32(read_micrograph(write_raw("n.mrc", pattern * np.nan)), bad_pixels="replace")


def test_float64_beyond_single_precision_is_bad(tmp_path: Path, pattern: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "m.tif", pattern.astype("f8") * 1e38)
    with pytest.raises(InputError, match="NaN or infinite"):
        as_float32(read_micrograph(tmp_path / "m.tif"))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "shape", "pixel_size"),
    [
        ("klh/klh_001.mrc", (2048, 2048), 2.2),
        ("betagal/Falcon_14_33_35_0.mrc", (4096, 4096), 1.77),
        ("apoferritin/May08_03.05.02.tif", (1200, 1240), 1.5),
    ],
)
def test_real_micrographs(real_data: Path, name: str, shape: tuple[int, int], pixel_size: float) -> None:
    micrograph = read_micrograph(real_data / name)
    assert (micrograph.data.shape, require_pixel_size(micrograph)) == (shape, pixel_size)
    library = tifffile.imread if name.endswith(".tif") else mrcfile.read
    np.testing.assert_array_equal(micrograph.data, library(real_data / name))
