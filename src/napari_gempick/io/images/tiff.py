"""The TIFF format: which of a file's images is meant, and its pixels, without trusting what a damaged file says."""

from __future__ import annotations

import contextlib
import functools
import logging
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_gempick.io.images.mrc import Pixels, RawImage
from napari_gempick.io.reading import parsing, read_at, readable
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SMALLEST_PIXEL, LARGEST_PIXEL = 0.1, 50.0  # Å; outside no micrograph, template or map is plausible
MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_MOST_PAGES, _MOST_SIZES = 20_000, 200
_SIDES = (256, 257)
_MOST_TAGS = 4096
_EER = (65000, 65001, 65002)
_UNPACKED_FREELY, _MOST_PACKED = 2**28, 200
"""Bytes that any compressed file may unpack to, and how many times its own size beyond that."""
_UNITS = {  # Å
    "pm": 0.01,
    "Å": 1.0,
    "å": 1.0,
    "a": 1.0,
    "angstrom": 1.0,
    "angstroms": 1.0,
    "nm": 10.0,
    "um": 1e4,
    "µm": 1e4,
    "μm": 1e4,
    "micron": 1e4,
    "microns": 1e4,
    "mm": 1e7,
    "cm": 1e8,
    "inch": 2.54e8,
}
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it prints its own messages about damaged files


def open_tiff(path: Path, size: int) -> RawImage:
    """Open a TIFF file of `size` bytes.

    Of images of several sizes the largest one counts, if the others are thumbnails: marked as reduced, or at most half
    as long and wide.

    Raises
    ------
    InputError
        The file is damaged, in colour, an EER movie, or compressed in a way that cannot be decoded here; or it holds
        several images, and nothing tells which one is meant.
    """
    with parsing(path, "a TIFF file"):
        pages, sound = pages_of(path, size)
        with _opened(path) as tiff:
            first = tiff.pages[0]
            if int(first.compression) in _EER:
                raise InputError(
                    f"{path} is an EER movie; add up and align its frames first (motion correction), and give the sum.",
                    path,
                )
            if not sound and pages > 1:
                raise InputError(f"{path} has a damaged list of pages (after page {pages}); copy it again.", path)
            number, notes = _chosen(path, tiff) if sound else (0, _damaged_list(path))
            series = tiff.series[number] if sound else None
            page = first if series is None else series.keyframe
            whole = first.shape if series is None else series.shape
            axes = first.axes if series is None else series.axes
            dtype = page.dtype
            shape = tuple(int(length) for length in whole if length != 1)
            if min(whole, default=0) < 1 or dtype is None:
                raise InputError(f"{path} has no pixels (shape {tuple(whole)}); copy it again.", path)
            if axes.endswith("S") or dtype.kind not in "biuf" or len(shape) > 3:
                # "SYX" is how tifffile writes three sections unless told otherwise
                raise InputError(
                    f"{path} is not a grey-scale image or a stack of them (shape {tuple(whole)}, {dtype}); "
                    "convert it to a grey-scale TIFF or MRC.",
                    path,
                )
            ny, nx = (int(length) for length in whole[-2:])
            sections = int(np.prod(whole[:-2], dtype=np.int64))
            x, y = _spacing(tiff, page)
            pixels = _pixels(path, size, number if sound else None, page, series, (sections, ny, nx))
    return RawImage(pixels, (x, y, 0.0), "TIFF resolution tag", False, path, notes)


def check_unpacked(path: Path, size: int, unpacked: int) -> None:
    """Raise InputError when a compressed file of `size` bytes says that it holds far more than any image would."""
    if unpacked > max(_UNPACKED_FREELY, _MOST_PACKED * size):
        raise InputError(
            f"{path} says that its {size} bytes unpack to {unpacked}, over {_MOST_PACKED} times as many, which no "
            "image does; it is damaged, copy it again.",
            path,
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with readable(path), tifffile.TiffFile(path, is_ome=False) as tiff:  # an OME file may name other files
        yield tiff


def pages_of(path: Path, size: int) -> tuple[int, bool]:
    """Follow the chain of pages; return how many there are, and whether the chain ends as it should.

    A damaged file can make this chain endless or lead anywhere, which tifffile would follow.
    """
    with readable(path), path.open("rb") as stream:
        head = stream.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4] in (b"+\x00", b"\x00+")
        count_form, next_form, entry, start = ("Q", "Q", 20, 8) if big else ("H", "I", 12, 4)
        place = struct.unpack_from(order + next_form, head, start)[0]
        seen: set[int] = set()
        sizes: set[tuple[bytes, ...]] = set()
        while place:
            stream.seek(place)
            count_bytes = stream.read(struct.calcsize(order + count_form))
            if len(count_bytes) < struct.calcsize(order + count_form) or place in seen:
                break
            count = struct.unpack(order + count_form, count_bytes)[0]
            after = place + len(count_bytes) + entry * count
            if not 1 <= count <= _MOST_TAGS or after + struct.calcsize(order + next_form) > size:
                break
            entries = np.frombuffer(stream.read(entry * count), np.uint8).reshape(count, entry)
            sides = tuple(entries[entries[:, :2].copy().view(order + "u2")[:, 0] == tag].tobytes() for tag in _SIDES)
            if not all(sides):
                break  # no image
            seen.add(place)
            sizes.add(sides)
            if len(seen) > (_MOST_PAGES if len(sizes) == 1 else _MOST_SIZES):
                raise InputError(
                    f"{path} lists over {len(seen) - 1} pages; it is damaged, or no stack of images.", path
                )
            stream.seek(after)
            place = struct.unpack(order + next_form, stream.read(struct.calcsize(order + next_form)))[0]
    if not seen:
        raise InputError(f"{path} is a TIFF file that cannot be decoded (it has no page); copy it again.", path)
    return len(seen), place == 0


def _damaged_list(path: Path) -> tuple[str, ...]:
    return (f"{path} has a damaged list of pages; its first page was read.",)


def _chosen(path: Path, tiff: Any) -> tuple[int, tuple[str, ...]]:
    """Return the number of the series of images that is meant, and a note where there are several."""
    sides = []
    several = [level for series in tiff.series for level in series.levels]
    for series in tiff.series:
        ny, nx = series.shape[-2:] if len(series.shape) > 1 else (0, 0)
        sides.append((int(ny), int(nx), bool(series.keyframe.is_reduced)))
    if len(several) == 1:
        return 0, ()
    ranked = sorted(range(len(sides)), key=lambda n: (sides[n][2], -sides[n][0] * sides[n][1], n))
    best = ranked[0]
    ny, nx, _ = sides[best]
    if any(2 * sides[n][0] > ny or 2 * sides[n][1] > nx for n in ranked[1:] if not sides[n][2]):
        sizes = ", ".join(f"{nx} x {ny}" for ny, nx, _ in sides[:4])
        raise InputError(
            f"{path} holds several images ({sizes}{', ...' if len(sides) > 4 else ''}), and nothing tells which one is "
            "meant; save it as a file of its own.",
            path,
        )
    return best, (f"{path} holds {len(several)} images of different sizes; the largest, {nx} x {ny} pixels, was read.",)


def _pixels(path: Path, size: int, number: int | None, page: Any, series: Any, shape: tuple[int, int, int]) -> Pixels:
    """Return the pixels: of plain data as they lie in the file, else decoded when they are first needed."""
    dtype = page.dtype
    offset = page.dataoffsets[0] if series is None and page.is_contiguous else getattr(series, "dataoffset", None)
    count = shape[1] * shape[2] * dtype.itemsize
    if offset is not None and page.is_memmappable:
        if int(offset) + shape[0] * count > size:
            raise InputError(
                f"{path} is truncated: {size} bytes are there, {int(offset) + shape[0] * count} expected "
                f"({shape[2]} x {shape[1]} x {shape[0]} pixels, {dtype}); copy it again.",
                path,
            )
        stored = dtype.newbyteorder(page.parent.byteorder)
        first = int(offset)

        def section(number: int) -> NDArray[Any]:
            image: NDArray[Any] = read_at(path, first + number * count, count).view(stored)
            return image.reshape(shape[1:])

        return Pixels(shape, stored, section)
    check_unpacked(path, size, shape[0] * count)
    check_unpacked(path, size, int(np.prod(page.chunks, dtype=np.float64)) * dtype.itemsize)
    _check_codec(path, page)

    @functools.cache
    def decoded() -> NDArray[Any]:
        with parsing(path, "a TIFF file"), _opened(path) as tiff:
            source: Any = tiff.pages[0] if number is None else tiff.series[number]
            for one in [source] if number is None else source.pages:
                parts = () if one is None else zip(one.dataoffsets, one.databytecounts, strict=False)
                end = max((int(start) + int(length) for start, length in parts), default=0)
                if end > size:
                    raise InputError(
                        f"{path} is truncated or damaged: it has {size} bytes, but says that its pixels end at byte "
                        f"{end}; copy it again.",
                        path,
                    )
            return np.asarray(source.asarray(maxworkers=1)).reshape(shape)

    def section_of(number: int) -> NDArray[Any]:
        image: NDArray[Any] = decoded()[number]
        return image

    return Pixels(shape, dtype, section_of)


def _check_codec(path: Path, page: Any) -> None:
    """Raise InputError when the pixels are compressed in a way that cannot be decoded here."""
    name = getattr(page.compression, "name", str(page.compression))
    try:
        if page.compression > 1:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
            if int(page.predictor) > 1:
                tifffile.TIFF.UNPREDICTORS[page.predictor]
    except Exception as error:  # its type depends on the versions of Python, tifffile and imagecodecs
        try:
            import imagecodecs  # noqa: F401
        except ImportError:
            remedy = "run `pip install imagecodecs`, or save it uncompressed"
        else:
            remedy = "save it uncompressed, or with LZW or deflate"
        raise InputError(f"{path} is compressed with {name}, which cannot be decoded here; {remedy}.", path) from error


def _spacing(tiff: Any, page: Any) -> tuple[float, float]:
    """Return the pixel size in Å along x and y, (0, 0) where the tags say nothing that could be one.

    72 dots an inch and the like are what programs write that know nothing, so an implausible value is not an error.
    """
    tags = page.tags
    unit = _RESOLUTION_UNITS.get(int(tags.valueof("ResolutionUnit", default=1)), "")
    if tiff.imagej_metadata:
        unit = str(tiff.imagej_metadata.get("unit", unit)).replace("\\u00B5", "µ").strip().lower()
    values = []
    for name in ("XResolution", "YResolution"):
        dots, units = tags.valueof(name, default=(0, 0))
        value = _UNITS.get(unit, 0.0) * units / dots if dots else 0.0
        values.append(float(f"{value:.6g}"))
    plausible = all(SMALLEST_PIXEL <= value <= LARGEST_PIXEL for value in values)
    return (values[0], values[1]) if plausible else (0.0, 0.0)
