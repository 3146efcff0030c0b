"""MRC files that other programs write: unsigned bytes, 4-bit pixels, sizes that are not what the header says."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gempick.io.images.micrograph import open_image, read_micrograph
from napari_gempick.io.stack import read_map, read_stack
from napari_gempick.model.errors import InputError

Writer = Callable[..., Path]
IMOD = 1146047817


def picture(shape: tuple[int, int] = (96, 80), seed: int = 0) -> np.ndarray:
    """An image whose neighbouring pixels are alike, mean 0, standard deviation 1."""
    larger = (2 * shape[0], 2 * shape[1])  # else opposite edges would be neighbours
    spectrum = np.fft.rfft2(np.random.default_rng(seed).normal(size=larger))
    ky, kx = np.fft.fftfreq(larger[0])[:, None], np.fft.rfftfreq(larger[1])
    image = np.fft.irfft2(spectrum * np.exp(-((ky**2 + kx**2) / 0.15**2)), larger)[: shape[0], : shape[1]]
    return (image - image.mean()) / image.std()


def with_words(path: Path, *words: tuple[int, str, tuple[float, ...]]) -> Path:
    """Replace words of a header: (byte, format, values)."""
    content = bytearray(path.read_bytes())
    order = "<" if content[212] == 0x44 else ">"
    for byte, form, values in words:
        struct.pack_into(order + form, content, byte, *values)
    path.write_bytes(content)
    return path


def statistics(values: np.ndarray) -> tuple[int, str, tuple[float, ...]]:
    return 76, "3f", (float(values.min()), float(values.max()), float(values.mean()))


UNSET = (76, "3f", (0.0, -1.0, -2.0))
GREY = np.clip(picture() * 40 + 128, 0, 255).astype("u1")
COUNTS = np.random.default_rng(1).poisson(3.0, (96, 80)).astype("u1")
COUNTS[5, 5:16] = 140  # a few hot pixels
ODD = np.random.default_rng(1).poisson(3.0, (95, 81)).astype("u1")
ODD[-1, -1] = 140  # one hot pixel, the last of an odd number


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bytes_", "words", "unsigned"),
    [
        (GREY, [statistics(GREY), (152, "2i", (IMOD, 0))], True),
        (GREY, [statistics(GREY)], True),
        (GREY, [statistics(GREY), (152, "2i", (IMOD, 1))], True),  # a flag that the statistics contradict
        (GREY, [UNSET, (152, "2i", (IMOD, 0))], True),
        (GREY, [(76, "3f", (0.0, 0.0, 0.0))], True),  # only the pixels tell
        (GREY, [(76, "3f", (0.0, 255.0, 127.0))], True),
        (GREY, [(76, "3f", (float("nan"), 1e38, -5.0))], True),
        (COUNTS, [statistics(COUNTS)], True),
        (COUNTS, [UNSET], True),
        (ODD, [statistics(ODD)], True),
        (GREY ^ 0x80, [statistics((GREY ^ 0x80).view("i1"))], False),
        (GREY ^ 0x80, [UNSET], False),
        (GREY ^ 0x80, [statistics((GREY ^ 0x80).view("i1")), (152, "2i", (IMOD, 1))], False),
        (GREY ^ 0x80, [statistics((GREY ^ 0x80).view("i1")), (152, "2i", (IMOD, 0))], False),  # a stamp left behind
        (GREY ^ 0x80, [UNSET, (152, "2i", (IMOD, 1))], False),
        (GREY // 2, [statistics(GREY // 2), (152, "2i", (IMOD, 0))], False),  # below 128 both are the same
    ],
)
def test_bytes_are_read_as_the_header_or_the_pixels_say(
    write_raw: Writer, bytes_: np.ndarray, words: list, unsigned: bool, order: str
) -> None:
    path = with_words(write_raw("m.mrc", bytes_.view("i1"), order=order), *words)
    micrograph = read_micrograph(path)
    np.testing.assert_array_equal(micrograph.data, bytes_ if unsigned else bytes_.view("i1"))
    said = [note for note in micrograph.warnings if "read as unsigned" in note]
    assert len(said) == unsigned and all(str(path) in note for note in said)
    assert read_micrograph(path, 1.5).warnings == micrograph.warnings


@settings(max_examples=60)
@given(
    level=st.integers(70, 200),
    spread=st.floats(8, 45),
    known=st.booleans(),
    signed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_whatever_the_brightness_and_contrast(
    write_raw: Writer, level: int, spread: float, known: bool, signed: bool, seed: int
) -> None:
    truth = np.clip(np.round(picture((64, 48), seed) * spread + level), 0, 255).astype(int)
    truth -= 128 * signed
    stored = truth.astype("i1" if signed else "u1").view("i1")
    path = with_words(write_raw("m.mrc", stored), statistics(truth) if known else UNSET)
    read = np.asarray(open_image(path).data[0], int)
    assert np.ptp(read - truth) == 0  # right up to a constant, where all pixels lie on one side


def test_stacks_and_maps_are_read_by_the_same_rule(write_raw: Writer) -> None:
    stack = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])
    path = with_words(write_raw("t.mrcs", stack.view("i1")), statistics(stack))
    read = read_stack(path)
    np.testing.assert_array_equal(read.data, stack)
    assert "unsigned" in read.notes[0]
    np.testing.assert_array_equal(read_map(path)[0], stack)


@pytest.mark.parametrize(("ny", "nx"), [(6, 8), (7, 5), (1, 3)])
@pytest.mark.parametrize("sections", [1, 2])
def test_four_bits_a_pixel(tmp_path: Path, write_raw: Writer, ny: int, nx: int, sections: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 16, (sections, ny, nx)).astype("u1")
    rows = []
    for row in pixels.reshape(-1, nx):  # the first pixel of a pair in the low half; a row ends with its byte
        even = [*row.tolist(), 0]
        rows += [even[i] | even[i + 1] << 4 for i in range(0, nx, 2)]
    path = write_raw("m.mrc", np.zeros((sections, ny, nx), "i1"), mode=101)
    path.write_bytes(path.read_bytes()[:1024] + bytes(rows))
    np.testing.assert_array_equal(np.asarray(open_image(path).data), pixels)
    assert open_image(path).notes == ()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        open_image(path)


IMAGES = {
    "f4": (1000 + 50 * picture()).astype("f4"),
    "i2": (300 + 40 * picture()).astype("i2"),
    "u2": (3000 + 400 * picture()).astype("u2"),
    "i1": np.clip(30 * picture(), -128, 127).astype("i1"),
    "f2": (30 + 3 * picture()).astype("f2"),
}


@pytest.mark.parametrize("dtype", list(IMAGES))
@pytest.mark.parametrize("extended", [96, 1024, 20 * 80])
def test_an_extended_header_that_is_not_there(write_raw: Writer, dtype: str, extended: int) -> None:
    path = with_words(write_raw("m.mrc", IMAGES[dtype]), (92, "i", (extended,)))
    micrograph = read_micrograph(path)
    np.testing.assert_array_equal(micrograph.data, IMAGES[dtype])
    assert "extended header" in micrograph.warnings[0] and str(path) in micrograph.warnings[0]


@pytest.mark.parametrize("dtype", ["f4", "i2", "u2"])
def test_a_truncated_file_with_an_extended_header_stays_truncated(write_raw: Writer, dtype: str) -> None:
    path = write_raw("m.mrc", IMAGES[dtype], extended=b"\1" * 768)
    for lost in (1, 500, 768, 2000):
        path.write_bytes(write_raw("n.mrc", IMAGES[dtype], extended=b"\1" * 768).read_bytes()[:-lost])
        with pytest.raises(InputError, match="truncated"):
            read_micrograph(path)


JUNK = {
    "ones": lambda n: b"\1" * n,
    "zeros": bytes,
    "text": lambda n: (b"some text of a detector, " * (n // 25 + 1))[:n],
    "noise": lambda n: np.random.default_rng(3).integers(0, 256, n, np.uint8).tobytes(),
}


@pytest.mark.parametrize("dtype", ["f4", "i2", "f2"])
@pytest.mark.parametrize("junk", list(JUNK))
@pytest.mark.parametrize("excess", [768, 80 * 4, 5])
@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("known", [True, False])
def test_a_longer_file_is_read_at_the_right_place_or_refused(
    write_raw: Writer, dtype: str, junk: str, excess: int, place: str, known: bool
) -> None:
    image = IMAGES[dtype]
    path = with_words(write_raw("m.mrc", image), statistics(image) if known else UNSET)
    content, more = path.read_bytes(), JUNK[junk](excess)
    path.write_bytes(content[:1024] + more + content[1024:] if place == "before" else content + more)
    try:
        micrograph = read_micrograph(path)
    except InputError as error:
        assert "longer than its header says" in error.sentence
        assert junk == "noise" or excess == 5, "decidable"
        return
    np.testing.assert_array_equal(micrograph.data, image)
    assert "longer than its header says" in micrograph.warnings[0]


def test_white_noise_behind_bytes_that_look_like_it_is_refused(write_raw: Writer) -> None:
    noise = np.random.default_rng(0).normal(size=(97, 80)).astype("f4")
    path = write_raw("m.mrc", noise[:96])
    path.write_bytes(path.read_bytes()[:1024] + noise.tobytes())
    with pytest.raises(InputError, match=r"nothing tells whether the image begins at byte 1024 or at byte 1344"):
        read_micrograph(path)


def test_more_sections_than_the_header_says_are_not_read(write_raw: Writer) -> None:
    path = write_raw("m.mrc", IMAGES["f4"])
    path.write_bytes(path.read_bytes() + IMAGES["f4"][::-1].tobytes())
    micrograph = read_micrograph(path)
    np.testing.assert_array_equal(micrograph.data, IMAGES["f4"])
    assert "1 more sections than it says" in micrograph.warnings[0]


def test_an_extended_header_that_is_not_there_before_a_longer_file_is_no_displaced_image(write_raw: Writer) -> None:
    """Neither place that is compared is right here: refused, or read at the third."""
    path = with_words(write_raw("m.mrc", IMAGES["f4"]), (92, "i", (768,)))
    for excess in (900, 1000, 5000):
        path.write_bytes(path.read_bytes()[: 1024 + IMAGES["f4"].nbytes] + bytes(excess))
        try:
            np.testing.assert_array_equal(read_micrograph(path).data, IMAGES["f4"])
        except InputError as error:
            assert "longer than its header says" in error.sentence


def test_two_pixels_in_a_byte_of_mode_0_are_refused(write_raw: Writer) -> None:
    path = with_words(write_raw("m.mrc", GREY.view("i1")), (152, "2i", (IMOD, 16)))
    with pytest.raises(InputError, match=r"m\.mrc holds two 4-bit pixels in each byte"):
        read_micrograph(path)
