"""Open files, and say in one sentence why one cannot be opened or understood.

Read a JSON file: one sentence for whatever is wrong with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from napari_gempick.model.errors import GempickError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextlib.contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Turn the system's errors about `path` within the block into ours; pipes, devices and sockets are refused.

    Raises
    ------
    InputError
        The file is missing, a folder, no regular file, or may not or cannot be read.
    """
    try:
        _refuse_special(path)
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name.", path) from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not a file; name a file in it.", path) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check its permissions.", path) from error


@contextlib.contextmanager
def parsing(path: Path | str, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is parsed into one sentence; `kind` is what the file should be.

    Parsers of damaged files raise nearly anything, so this is the one place where every exception is caught.

    Raises
    ------
    InputError
        The block raised an exception that is not ours already.
    """
    try:
        yield
    except GempickError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path} needs more memory than there is; free some, or check that the file is not damaged.", path
        ) from error
    except Exception as error:
        reason = str(error).strip().splitlines()
        what = reason[0] if reason else type(error).__name__
        raise InputError(f"{path} is {kind} that cannot be decoded ({what}); copy it again.", path) from error


def read_at(path: Path | str, start: int, count: int) -> NDArray[np.uint8]:
    """Read a part of a file into memory: (count,) bytes from `start` on.

    Files are not memory-mapped: a mapped file that somebody truncates ends the whole process.

    Raises
    ------
    InputError
        The file cannot be read, or ends before.
    """
    data = np.empty(count, np.uint8)
    view, done = data.data, 0
    with readable(path), Path(path).open("rb", buffering=0) as stream:
        stream.seek(start)
        while done < count:
            got = stream.readinto(view[done : done + 2**30])
            if not got:
                raise InputError(
                    f"{path} ended at byte {start + done} while it was read, {start + count} were there before; "
                    "wait until it is complete, or copy it again.",
                    path,
                )
            done += got
    return data


def _refuse_special(path: Path | str) -> None:
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:
        raise InputError(f"{str(path)!r} cannot be the name of a file; check it.", path) from error
    kind = next((name for test, name in _SPECIAL if test(mode)), None)
    if kind is not None:
        raise InputError(f"{path} is {kind}, not a regular file; save the data in a file and give that.", path)


_Model = TypeVar("_Model", bound=BaseModel)


def read_json(path: Path | str) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    InputError
        It is missing, unreadable, not JSON, or nested too deep.
    """
    with parsing(path, "a JSON file"):
        with readable(path):
            raw = Path(path).read_bytes()
        return json.loads(raw.decode("utf-8-sig"))


def read_object(path: Path | str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises
    ------
    InputError
        As `read_json`; or it is not an object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object; give another file, or write it again.", path)
    return content


def checked(model: type[_Model], content: Any, path: Path | str, remedy: str) -> _Model:
    """Return the content of a file as `model` has it.

    Raises
    ------
    InputError
        A field is missing or has an impossible value; it is named, and `remedy` says what to do.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        message = first["msg"].removeprefix("Value error, ").lower()
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(f"{path}: {field}: {message}{more}; {remedy}.", path) from error
