"""Names that come from files: what can be written down and read again, and what stays below a folder.

Names in JSON records, as pydantic checks them.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from napari_gempick.model.errors import InputError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 255
"""Bytes of a name on the usual file systems."""
_ROOM = 24
"""What the names of results and their temporary files add to a micrograph's stem."""


_SUFFIX = re.compile(r"(\.(mrcs?|map|ccp4|rec|tiff?|eer|png|star))?(\.(gz|bz2))?$", re.IGNORECASE)


def split_suffix(name: str) -> tuple[str, str]:
    """Return the name of a file of images without its suffix, and the suffix.

    Only known suffixes count: particle_3.54A.mrc is particle_3.54A and .mrc, particle_3.54A has none.
    """
    found = _SUFFIX.search(name)
    at = found.start() if found else 0
    return (name[:at], name[at:]) if at else (name, "")


def check_name(name: str, what: str = "The name") -> None:
    """Refuse a name that files of text cannot hold.

    Parameters
    ----------
    name : str
        A file name or path.
    what : str
        How the sentence begins.

    Raises
    ------
    InputError
        It has control characters (line breaks among them), or bytes that are not UTF-8.
    """
    if name.isascii() and name.isprintable():
        return
    if any(unicodedata.category(mark) == "Cc" or mark in "\u2028\u2029" for mark in name):
        raise InputError(f"{what} {printable(name)} has a line break or another control character; rename it.")
    if any(unicodedata.category(mark) == "Cs" for mark in name):
        raise InputError(f"{what} {printable(name)} has bytes that are not UTF-8; rename it.")


def check_micrograph_name(path: str, stem: str) -> None:
    """Refuse a micrograph whose results could not be named after it.

    Raises
    ------
    InputError
        As `check_name`; or the stem leaves no room for the endings of its results.
    """
    check_name(path, "The micrograph")
    if not is_below(stem):
        raise InputError(f"The micrograph {path} has a name that leads out of a folder; rename it.")
    if len(os.fsencode(stem)) > _LONGEST - _ROOM:
        raise InputError(
            f"The micrograph {path} has a name of {len(os.fsencode(stem))} bytes, which leaves no room for the endings "
            f"of its results; give it a name of at most {_LONGEST - _ROOM} bytes."
        )


def reduced(name: str) -> str:
    """Return a relative path below whatever folder it is put into: without root, drive, ``.`` and ``..``."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "//", "..", ".")]
    return "/".join(part for part in parts if not (len(part) == 2 and part[1] == ":")) or "unnamed"


def is_below(name: str) -> bool:
    """Return whether a relative path stays below the folder that it is put into."""
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def free_path(folder: Path, name: str, suffix: str = "", taken: Callable[[Path], bool] = Path.exists) -> Path:
    """Return the first of name.mrc, name_2.mrc, name_3.mrc, ... that does not exist in a folder, or is not taken."""
    path, number = folder / f"{name}{suffix}", 1
    while taken(path):
        number += 1
        path = folder / f"{name}_{number}{suffix}"
    return path


def _writable(name: str) -> str:
    try:
        check_name(name)
    except InputError as error:
        raise ValueError(error.sentence.rstrip(".")) from error
    return name


def _below(name: str) -> str:
    if not is_below(name):
        raise ValueError(f"the name {printable(name)} leads out of the folder")
    return _writable(name)


def _file(name: str) -> str:
    if PurePosixPath(name).name in ("", ".."):
        raise ValueError(f"{printable(name) or 'an empty text'} is not the name of a file")
    return _writable(name)


Writable = Annotated[str, AfterValidator(_writable)]
"""A name that files of text can hold."""
Below = Annotated[str, AfterValidator(_below)]
"""A path that stays below its folder."""
FilePath = Annotated[str, AfterValidator(_file)]
"""The path of a file, anywhere."""
