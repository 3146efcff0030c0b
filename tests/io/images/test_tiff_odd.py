"""TIFF files and compressed files that are odd, damaged or hostile, and inputs that are not files."""

from __future__ import annotations

import bz2
import gzip
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gempick.io.images.micrograph import as_float32, has_sections, open_image, read_micrograph
from napari_gempick.io.reading import read_at
from napari_gempick.io.stack import read_map, read_mask, read_stack
from napari_gempick.model.errors import InputError

Writer = Callable[..., Path]
IMAGE = np.random.default_rng(0).integers(0, 4000, (64, 96)).astype("u2")


@pytest.mark.parametrize("codec", ["lzw", "zstd", "deflate", "adobe_deflate", "packbits", "lzma"])
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_every_lossless_compression(tmp_path: Path, codec: str, predictor: bool, tile: tuple[int, int] | None) -> None:
    data = IMAGE if codec != "packbits" else IMAGE.astype("u1")
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, data, compression=codec, predictor=predictor and codec != "packbits", tile=tile)
    np.testing.assert_array_equal(read_micrograph(path).data, data)


def test_a_codec_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "m.tif", IMAGE, compression="zstd")
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {})
    with pytest.raises(InputError, match=r"m\.tif is compressed with ZSTD, .*save it uncompressed"):
        read_micrograph(tmp_path / "m.tif")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(InputError, match=r"compressed with ZSTD.*pip install imagecodecs"):
        read_micrograph(tmp_path / "m.tif")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("marked", [True, False])
def test_a_thumbnail_beside_the_image(tmp_path: Path, first: bool, marked: bool) -> None:
    path = tmp_path / "m.tif"
    with tifffile.TiffWriter(path) as writer:
        for small in (True, False) if first else (False, True):
            options = {"subfiletype": 1} if marked and small else {}
            resolution = (72, 72) if small else (66666667, 66666667)
            writer.write(
                IMAGE[::4, ::4] if small else IMAGE, resolution=resolution, resolutionunit=3, metadata=None, **options
            )
    micrograph = read_micrograph(path)
    np.testing.assert_array_equal(micrograph.data, IMAGE)
    assert micrograph.pixel_size == pytest.approx(1.5, rel=1e-4)
    assert micrograph.warnings == (f"{path} holds 2 images of different sizes; the largest, 96 x 64 pixels, was read.",)


def test_two_images_that_could_both_be_meant_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "m.tif") as writer:
        writer.write(IMAGE, metadata=None)
        writer.write(IMAGE[:60], metadata=None)
    with pytest.raises(InputError, match=r"m\.tif holds several images \(96 x 64, 96 x 60\).*which one is meant"):
        read_micrograph(tmp_path / "m.tif")


@pytest.mark.parametrize("options", [{"metadata": None}, {}, {"imagej": True}, {"ome": True}, {"compression": "lzw"}])
def test_a_movie_is_a_stack_and_not_a_micrograph(tmp_path: Path, options: dict) -> None:
    movie = np.stack([IMAGE, IMAGE[::-1], IMAGE[:, ::-1]])
    tifffile.imwrite(tmp_path / "m.tif", movie, photometric="minisblack", **options)
    with pytest.raises(InputError, match="holds 3 sections, so it is a stack or a movie"):
        read_micrograph(tmp_path / "m.tif")
    np.testing.assert_array_equal(read_stack(tmp_path / "m.tif").data, movie)


def test_eer_dm_and_other_formats_have_their_sentence(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.eer", IMAGE, bigtiff=True, metadata=None)
    content = bytearray((tmp_path / "m.eer").read_bytes())
    with tifffile.TiffFile(tmp_path / "m.eer") as file:
        place = file.pages[0].tags["Compression"].valueoffset
    content[place : place + 2] = struct.pack("<H", 65001)
    (tmp_path / "m.eer").write_bytes(content)
    kinds = {
        "m.eer": (None, "EER movie; add up and align its frames"),
        "m.dm4": (struct.pack(">iqi", 4, 10**8, 1) + bytes(2000), "DM4 file of Digital Micrograph"),
        "m.dm3": (struct.pack(">3i", 3, 10**8, 1) + bytes(2000), "DM3 file of Digital Micrograph"),
        "m.hdf": (b"\x89HDF\r\n\x1a\n" + bytes(2000), "HDF5 file, such as EMAN2's"),
        "m.png": (b"\x89PNG\r\n\x1a\n" + bytes(2000), "PNG picture"),
    }
    for name, (made, sentence) in kinds.items():
        if made is not None:
            (tmp_path / name).write_bytes(made)
        with pytest.raises(InputError, match=f"{name} is an? {sentence}"):
            read_micrograph(tmp_path / name)


def page(order: str, entries: list[tuple[int, int, int, int]], after: int) -> bytes:
    made = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        made += struct.pack(order + "HHI", tag, kind, count)
        made += struct.pack(order + ("HH" if kind == 3 else "I"), *([value, 0] if kind == 3 else [value]))
    return made + struct.pack(order + "I", after)


def plain_tiff(width: int, height: int, pixels: bytes, *, order: str = "<", after: int = 0, codec: int = 1) -> bytes:
    """A TIFF file of bytes, written here word by word: header, page, pixels."""
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, codec),
        (262, 3, 1, 1),
        (273, 4, 1, 8 + 2 + 12 * 9 + 4),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + page(order, entries, after) + pixels


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_page_of_its_own_making(tmp_path: Path, order: str) -> None:
    (tmp_path / "m.tif").write_bytes(plain_tiff(4, 3, bytes(range(12)), order=order))
    np.testing.assert_array_equal(read_micrograph(tmp_path / "m.tif").data, np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(("width", "height"), [(0, 3), (4, 0), (0, 0)])
def test_an_empty_axis_is_an_error_of_the_file(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "m.tif").write_bytes(plain_tiff(width, height, bytes(12)))
    with pytest.raises(InputError, match=r"m\.tif"):
        as_float32(read_micrograph(tmp_path / "m.tif"))


def test_a_false_chain_of_pages(tmp_path: Path) -> None:
    """Chains to nowhere and circles end at the first page, with a note; endless ones are refused at once."""
    path, start = tmp_path / "m.tif", 8 + 2 + 12 * 9 + 4 + 12
    for after in (8, 10**9, 130):
        path.write_bytes(plain_tiff(4, 3, bytes(range(12)), after=after))
        micrograph = read_micrograph(path)
        np.testing.assert_array_equal(micrograph.data, np.arange(12).reshape(3, 4))
        assert "damaged list of pages" in micrograph.warnings[0]
    for entries, most in (([(256, 4, 1, 4), (257, 4, 1, 3)], 20_000), ([(256, 4, 1, 9), (257, 4, 1, 9)], 200)):
        length = len(page("<", entries, 0))
        chain = b"".join(page("<", entries, start + (n + 1) * length) for n in range(25_000))
        path.write_bytes(plain_tiff(4, 3, bytes(12), after=start) + chain)
        with pytest.raises(InputError, match=rf"m\.tif lists over {most} pages"):
            read_micrograph(path)
    empty = page("<", [(256, 4, 1, 4)], start)  # not an image: the list ends before
    path.write_bytes(plain_tiff(4, 3, bytes(range(12)), after=start) + empty)
    assert "damaged list of pages" in read_micrograph(path).warnings[0]


def test_a_tiff_that_declares_terabytes(tmp_path: Path) -> None:
    for codec, side in ((8, 2**20), (5, 2**31 - 1), (1, 2**20)):
        (tmp_path / "m.tif").write_bytes(plain_tiff(side, side, bytes(100), codec=codec))
        with pytest.raises(InputError, match=r"m\.tif"):
            read_micrograph(tmp_path / "m.tif")


def peak_of(code: str) -> tuple[int, str]:
    """Run code in a process of its own; return its peak memory in MiB and what it printed."""
    code += "\nprint(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    *said, peak = done.stdout.strip().splitlines()
    return int(peak.split()[1]) // 1024, "\n".join(said)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_a_bomb_is_unpacked_no_further_than_its_header_says(tmp_path: Path, write_raw: Writer) -> None:
    small = write_raw("m.mrc", IMAGE).read_bytes()
    claims = bytearray(small)
    struct.pack_into("<3i", claims, 0, 60_000, 60_000, 1)
    for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress)):
        (tmp_path / f"small.{name}").write_bytes(pack(small) + 200 * pack(bytes(2**20)))
        (tmp_path / f"large.{name}").write_bytes(pack(bytes(claims)))
    code = f"""
from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.model.errors import InputError
for name in ("gz", "bz2"):
    print(read_micrograph({str(tmp_path)!r} + "/small." + name).data.sum())
    try:
        read_micrograph({str(tmp_path)!r} + "/large." + name)
    except InputError as error:
        print(error.sentence)
"""
    peak, said = peak_of(code)
    assert said.count(str(IMAGE.sum())) == 2 and said.count("unpack to 7200001024") == 2
    assert peak < 150


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mrc")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mrc"))
        for path, kind in (
            (tmp_path / "pipe.mrc", "pipe"),
            (tmp_path / "socket.mrc", "socket"),
            ("/dev/zero", "device"),
        ):
            for read in (read_micrograph, read_stack, read_mask, read_map):
                with pytest.raises(InputError, match=f"{path} is a {kind}, not a regular file"):
                    read(path)
            assert not has_sections(path)
    with pytest.raises(InputError, match="cannot be the name of a file"):
        read_micrograph("a\0b.mrc")


@pytest.mark.parametrize("kind", ["mrc", "tif"])
def test_a_file_that_is_truncated_while_it_is_read(tmp_path: Path, write_raw: Writer, kind: str) -> None:
    path = write_raw("m.mrc", IMAGE) if kind == "mrc" else tmp_path / "m.tif"
    if kind == "tif":
        tifffile.imwrite(path, IMAGE)
    image = open_image(path)
    kept = np.array(image.data[0])
    os.truncate(path, 2000)
    with pytest.raises(InputError, match=rf"m\.{kind} ended at byte 2000 while it was read"):
        np.asarray(image.data)
    np.testing.assert_array_equal(kept, IMAGE)


def test_parts_are_read_as_numpy_would(write_raw: Writer) -> None:
    stack = np.random.default_rng(0).normal(size=(5, 6, 7)).astype("f4")
    data = open_image(write_raw("s.mrcs", stack)).data
    assert (data.shape, data.dtype, data.size, len(data), data.nbytes) == ((5, 6, 7), "f4", 210, 5, 840)
    for key in (
        0,
        -1,
        slice(1, 4),
        [3, 0],
        (2, slice(1, 3)),
        (slice(None), 2, 3),
        (Ellipsis, 0),
        np.int64(2),
        (0, 1, 2),
    ):
        np.testing.assert_array_equal(data[key], stack[key])
    np.testing.assert_array_equal(np.asarray(data, np.float64), stack)
    with pytest.raises(IndexError):
        data[5]


def test_read_at_reads_the_bytes_asked_for(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(range(100)))
    assert read_at(tmp_path / "f", 10, 5).tolist() == [10, 11, 12, 13, 14]


GOOD: list[bytes] = []


def good(folder: Path) -> list[bytes]:
    """Files of every kind, small."""
    if not GOOD:
        from mrcfile import new

        for options in (
            {},
            {"compression": "lzw"},
            {"bigtiff": True},
            {"imagej": True},
            {"byteorder": ">", "tile": (16, 16)},
        ):
            tifffile.imwrite(folder / "a", IMAGE[:32, :32], **options)
            GOOD.append((folder / "a").read_bytes())
        for data in (IMAGE[:32, :32].astype("i1"), IMAGE[:32, :32].astype("f4"), np.zeros((3, 8, 8), "f4")):
            with new(folder / "a", overwrite=True) as mrc:
                mrc.set_data(data)
            GOOD.extend([(folder / "a").read_bytes(), gzip.compress((folder / "a").read_bytes(), mtime=0)])
    return GOOD


@settings(max_examples=150)
@given(
    which=st.integers(0, 10),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.floats(0.3, 1),
    near=st.booleans(),
)
def test_damage_is_a_sentence_or_an_image(
    tmp_path: Path, which: int, places: list[tuple[float, int]], cut: float, near: bool
) -> None:
    content = bytearray(good(tmp_path)[which])
    for share, value in places:
        content[int(share * ((min(len(content), 300) if near else len(content)) - 1))] = value
    path = tmp_path / "damaged.tif"
    path.write_bytes(content[: max(1, int(cut * len(content)))] if cut < 0.9 else content)
    for read in (read_micrograph, read_stack, read_mask):
        try:
            read(path)
        except InputError as error:
            assert str(path) in error.sentence
