"""cryoSPARC: .cs, a structured NumPy array with one row for each pick or each micrograph; nothing is ever unpickled.

location/center_x_frac = x / nx and location/center_y_frac = y / ny, with x and y as here: pixel centres counted from 0,
row 0 the file's first. cryoSPARC shows that row at the bottom, so its display counts y from below, but the number is
the row in the file (its developers draw center_y_frac * ny over imshow(origin="lower")). location/micrograph_shape is
(ny, nx). template_idx counts from 0. angle_rad is taken for psi in radians, with the sign of rlnAnglePsi, as public
converters to RELION take it; cryoSPARC's source is closed, and nothing of its own says so.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from napari_gempick.io.atomic import atomic_path
from napari_gempick.io.formats.base import Format, lost, shape_of
from napari_gempick.io.formats.coordinate_set import CoordinateSet, Exposure, assemble
from napari_gempick.io.names import check_name
from napari_gempick.io.reading import parsing, readable
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.io.formats.base import PicksInfo
    from napari_gempick.model.picks import Picks

_PATH, _SHAPE = "location/micrograph_path", "location/micrograph_shape"
_X, _Y = "location/center_x_frac", "location/center_y_frac"
_MICROGRAPH_UID, _GROUP, _PIXEL = ("location/micrograph_uid", "location/exp_group_id", "location/micrograph_psize_A")
_SCORE, _POWER, _TEMPLATE, _ANGLE = (
    f"pick_stats/{name}" for name in ("ncc_score", "power", "template_idx", "angle_rad")
)
_EXPOSURE_PATH, _EXPOSURE_SHAPE, _EXPOSURE_PIXEL = (f"micrograph_blob/{name}" for name in ("path", "shape", "psize_A"))
_EXPOSURE_GROUPS = ("mscope_params/exp_group_id", "ctf/exp_group_id")
_COMPRESSED = b"\x94CSDAT"
_METAFILE = re.compile(r"""metafile:\s*['"]?>?([^'"\n]+?\.cs)['"]?\s*$""", re.MULTILINE)
_LARGEST = 1e6
_LONGEST_HEADER = 200_000  # a table of exposures has a hundred fields; NumPy refuses headers above 10,000 by default


def read_exposures(path: Path | str) -> list[Exposure]:
    """Read a table of micrographs: any .cs file with micrograph_blob/path and shape, or the .csg file that names it."""
    rows = _load(path)
    _require(path, rows, ("uid", _EXPOSURE_PATH, _EXPOSURE_SHAPE), "table of micrographs; export the exposures")
    names = rows.dtype.names or ()
    group = next((label for label in _EXPOSURE_GROUPS if label in names), None)
    with parsing(path, "a table of micrographs"):
        found = [
            Exposure(
                _text(row[_EXPOSURE_PATH]),
                (int(row[_EXPOSURE_SHAPE][0]), int(row[_EXPOSURE_SHAPE][1])),
                _plausible(row[_EXPOSURE_PIXEL]) if _EXPOSURE_PIXEL in names else None,
                int(row["uid"]),
                int(row[group]) if group else 0,
            )
            for row in rows
        ]
    for one in found:
        check_name(one.path, f"{path}: the micrograph's name")
        if PurePosixPath(one.path).name in ("", ".."):
            raise InputError(f"{path} has a micrograph without a name ({one.path!r}); export it again.", path)
        _check_shapes(path, np.array([one.shape], np.float64))
    return found


def write_cs(path: Path | str, sets: Sequence[tuple[Picks, PicksInfo]]) -> None:
    """Write the picks of a data set with the fields location and pick_stats, atomically.

    Picks keep their uid and their micrograph's where they have them; else both are made from the micrograph's name and
    the row, always the same. The power, by which cryoSPARC lets picks be inspected, is the score again. Fields that no
    pick has a value for are left out; an unknown template among known ones is 0.

    Raises
    ------
    SettingsError
        The size of a micrograph is not known.
    """
    n = sum(len(picks) for picks, _ in sets)
    names = [info.micrograph.encode("utf-8", "surrogateescape") for _, info in sets]
    fields: list[tuple[Any, ...]] = [
        ("uid", "<u8"),
        (_MICROGRAPH_UID, "<u8"),
        (_GROUP, "<u4"),
        (_PATH, f"S{max([1, *map(len, names)])}"),
        (_SHAPE, "<u4", (2,)),
        (_X, "<f4"),
        (_Y, "<f4"),
    ]
    if all(info.pixel_size is not None for _, info in sets):
        fields.append((_PIXEL, "<f4"))
    if any(np.isfinite(picks.score).any() for picks, _ in sets):
        fields += [(_SCORE, "<f4"), (_POWER, "<f4")]
    if any((picks.section >= 0).any() for picks, _ in sets):
        fields.append((_TEMPLATE, "<u4"))
    if any(np.isfinite(picks.psi).any() for picks, _ in sets):
        fields.append((_ANGLE, "<f4"))
    rows = np.zeros(n, dtype=np.dtype(fields))
    start = 0
    for name, (picks, info) in zip(names, sets, strict=True):
        _fill(rows[start : start + len(picks)], picks, info, name, path)
        start += len(picks)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)


def _fill(rows: NDArray[Any], picks: Picks, info: PicksInfo, name: bytes, path: Path | str) -> None:
    """Fill in the rows of one micrograph."""
    shape = shape_of(info.shape, "cryoSPARC .cs", path)
    micrograph = _number(name) if info.micrograph_uid is None else info.micrograph_uid
    values: dict[str, Any] = {
        "uid": [_number(b"%d %d" % (micrograph, row)) for row in range(len(picks))] if info.uids is None else info.uids,
        _MICROGRAPH_UID: micrograph,
        _GROUP: info.exposure_group or 0,
        _PATH: name,
        _SHAPE: shape,
        _X: picks.x / shape[1],
        _Y: picks.y / shape[0],
        _PIXEL: info.pixel_size,
        _SCORE: picks.score,
        _POWER: picks.score,
        _TEMPLATE: np.maximum(picks.section, 0),
        _ANGLE: np.deg2rad(picks.psi % 360.0),
    }
    for label in rows.dtype.names or ():
        rows[label] = values[label]


def read_cs(path: Path | str, exposures: Sequence[Exposure] = ()) -> CoordinateSet:
    """Read the picks of a data set.

    Parameters
    ----------
    path : Path or str
        A .cs file, or a .csg file that names some; their fields are joined by uid.
    exposures : sequence of Exposure
        The micrographs, for picks that know only the uid of theirs; joined on it.
    """
    rows = _load(path)
    names = rows.dtype.names or ()
    if _X not in names and _EXPOSURE_PATH in names:
        raise InputError(f"{path} is a table of micrographs without picks; give it with --micrographs.", path)
    _require(path, rows, (_X, _Y), "table of picks; give the file with the locations (often a passthrough file)")
    of_uid = {one.uid: one for one in exposures}
    uids = rows[_MICROGRAPH_UID].tolist() if _MICROGRAPH_UID in names else []
    joined = [of_uid.get(uid) for uid in uids] if of_uid else []
    shape = _shapes(path, rows, joined)
    _check_shapes(path, shape)

    def some(label: str) -> NDArray[np.float64] | None:
        return rows[label].astype(np.float64) if label in names else None

    angle, template = some(_ANGLE), some(_TEMPLATE)
    kept = {"uid": "uid", _MICROGRAPH_UID: "micrograph_uid", _GROUP: "exposure_group"}
    extra: dict[str, NDArray[Any]] = {name: rows[label] for label, name in kept.items() if label in names}
    if _PIXEL in names:
        extra["pixel_size"] = np.array([_six_digits(value) for value in rows[_PIXEL].tolist()])
    elif joined and all(one is not None and one.pixel_size for one in joined):
        extra["pixel_size"] = np.array([one.pixel_size for one in joined if one is not None])
    return assemble(
        path,
        {},
        x=rows[_X] * shape[:, 1],
        y=rows[_Y] * shape[:, 0],
        score=some(_SCORE),
        psi=None if angle is None else np.rad2deg(angle),
        template=template,
        first_template=0,
        micrographs=_names(rows, joined),
        extra={**extra, "shape": shape.astype(np.int64)},
    )


def _shapes(path: Path | str, rows: NDArray[Any], joined: Sequence[Exposure | None]) -> NDArray[np.float64]:
    """Return (ny, nx) of each row's micrograph, (n, 2): from the file itself, or from the exposures."""
    if _SHAPE in (rows.dtype.names or ()):
        return rows[_SHAPE].astype(np.float64).reshape(len(rows), 2)
    missing = sum(one is None for one in joined) if joined else len(rows)
    if missing:
        raise InputError(
            f"{path} does not have the sizes of the micrographs ({_SHAPE}), and {missing} of {len(rows)} picks belong "
            "to none that was given; give --micrographs with the .cs file of the exposures.",
            path,
        )
    return np.array([one.shape for one in joined if one is not None], np.float64).reshape(len(rows), 2)


def _load(path: Path | str) -> NDArray[Any]:
    """Return the rows of a .cs file, or those of the files that a .csg file names, joined by uid."""
    files = _files_of_group(path)
    if files is None:
        return _load_one(path)
    first, *others = (_load_one(file) for file in files)
    for other in others:
        first = _joined(first, other)
    return first


def _joined(first: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Return the rows that both tables have, with the fields of both; tables without uid cannot be joined."""
    known, more = first.dtype.names or (), other.dtype.names or ()
    new = [name for name in more if name not in known]
    if not new or "uid" not in known or "uid" not in more:
        return first
    place = {uid: row for row, uid in enumerate(other["uid"].tolist())}
    rows = [row for row, uid in enumerate(first["uid"].tolist()) if uid in place]
    wanted = [place[uid] for uid in first["uid"][rows].tolist()]
    fields = [(name, table.dtype[name]) for table, names in ((first, known), (other, new)) for name in names]
    joined = np.zeros(len(rows), np.dtype(fields))
    for name, _ in fields:
        joined[name] = other[name][wanted] if name in new else first[name][rows]
    return joined


def _files_of_group(path: Path | str) -> list[Path] | None:
    """Return the .cs files that a .csg file (a small YAML text) names, None for other files."""
    if Path(path).suffix.lower() != ".csg":
        return None
    named = dict.fromkeys(_METAFILE.findall(read_text(path, "cryoSPARC group")))
    files = [Path(path).parent / name for name in named]
    missing = [file for file in files if not file.is_file()]
    if not files or missing:
        what = f"names {missing[0].name}, which is not beside it" if missing else "names no .cs file (metafile)"
        raise InputError(f"{path} {what}; copy the .cs files of the export into its folder, or give one of them.", path)
    return files


def _load_one(path: Path | str) -> NDArray[Any]:
    with readable(path), Path(path).open("rb") as stream:
        compressed = stream.read(len(_COMPRESSED)) == _COMPRESSED
        stream.seek(0)
        if not compressed:
            with parsing(path, "a .cs file"):
                return _rows(path, stream)
    raise InputError(
        f"{path} is a compressed .cs file (CSDAT); save it as NumPy with cryosparc-tools: "
        "Dataset.load(FILE).save(NEW, format=1).",
        path,
    )


def _rows(path: Path | str, stream: BinaryIO) -> NDArray[Any]:
    """Read NumPy's format: the file must declare a table of plain fields and hold all of it."""
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](stream, max_header_size=_LONGEST_HEADER)
    except Exception as error:  # damaged headers make NumPy raise nearly anything
        raise InputError(
            f"{path} is not a .cs file of plain NumPy fields; save it again with cryosparc-tools (Dataset.save).", path
        ) from error
    if dtype.hasobject:
        raise InputError(
            f"{path} is not a .cs file of plain NumPy fields: it has Python objects, which are never loaded; save it "
            "again with cryosparc-tools (Dataset.save).",
            path,
        )
    if dtype.names is None or len(shape) != 1:
        raise InputError(f"{path} does not hold a table, so it is not a .cs file; give another file.", path)
    start = stream.tell()
    there = stream.seek(0, os.SEEK_END) - start
    wanted = shape[0] * dtype.itemsize
    if there < wanted:
        raise InputError(
            f"{path} is truncated: {there} bytes of rows are there, {wanted} expected; copy it again.", path
        )
    stream.seek(start)
    return np.frombuffer(stream.read(wanted), dtype, shape[0])


def _plausible(value: float) -> float | None:
    """Return a pixel size; None where it cannot be one."""
    return _six_digits(value) if 0 < value < _LARGEST else None


def _check_shapes(path: Path | str, shapes: NDArray[np.float64]) -> None:
    """Refuse sizes of micrographs (n, 2) that cannot be."""
    wrong = ~((shapes >= 1) & (shapes <= _LARGEST)).all(axis=1)
    if wrong.any():
        ny, nx = shapes[int(np.argmax(wrong))]
        raise InputError(
            f"{path} has a micrograph of {nx:g} x {ny:g} pixels, which is impossible; export it again.", path
        )


def _six_digits(value: float) -> float:
    """Return a single-precision number as it was meant: 1.1, not 1.100000024."""
    return float(f"{value:.6g}")


def _require(path: Path | str, rows: NDArray[Any], labels: Sequence[str], what: str) -> None:
    missing = [label for label in labels if label not in (rows.dtype.names or ())]
    if missing:
        raise InputError(f"{path} does not have {', '.join(missing)}, so it is not a {what}.", path)


def _text(value: Any) -> str:
    """Return a path without the mark that cryoSPARC puts before paths beside the file."""
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
    return text.removeprefix(">")


def _names(rows: NDArray[Any], joined: Sequence[Exposure | None]) -> list[str] | None:
    """Return the micrograph of each row: its path, that of the exposure of its uid, or else the uid."""
    label = next((label for label in (_PATH, _MICROGRAPH_UID) if label in (rows.dtype.names or ())), None)
    if label is None:
        return None
    values = rows[label].tolist()
    text = {value: _text(value) for value in dict.fromkeys(values)}
    if label == _PATH or not joined:
        return [text[value] for value in values]
    return [text[value] if one is None else one.path for value, one in zip(values, joined, strict=True)]


def _number(name: bytes) -> int:
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")


CRYOSPARC = Format(
    "cs",
    "cryoSPARC .cs, one file for all micrographs (location, pick_stats)",
    ".cs",
    lambda path, options: read_cs(path, options.exposures),
    lambda path, picks, info: write_cs(path, [(picks, info)]),
    write_cs,
    "data set",
    loses=lost("cryoSPARC .cs", "view", "box size"),
    suffixes=(".cs", ".csg"),
    aliases=("cryosparc",),
    needs_shape=True,
)
