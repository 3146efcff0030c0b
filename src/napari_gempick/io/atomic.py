"""Write files under temporary names beside their places, then rename them: never half a file under the final name.

Existing files are replaced only on request.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gempick.io.names import split_suffix
from napari_gempick.model.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def _current_umask() -> int:
    """Read the process's umask; the only way to read it is to set it, which is safe before threads write files."""
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


TEMPORARY = ".tmp-"
"""How the names of unfinished files and folders begin."""
FORGOTTEN = 3600.0
"""Seconds after which an unfinished file of another computer is removed."""
_UMASK = _current_umask()  # mkstemp makes files private; results get the permissions of any new file


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; rename it to `path` when the block ends well.

    The folder is made when missing. When the block raises, the temporary file is removed and `path` stays as it was.

    Raises
    ------
    OutputError
        The folder cannot be made or written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_prefix(), suffix="".join(path.suffixes[-2:]), dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}; choose a folder that you may write to.", path
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}; free space or choose another folder.", path
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _prefix() -> str:
    """Return how the temporary names of this process begin."""
    return f"{TEMPORARY}{os.getpid()}-{_host()}-"


@functools.cache
def _host() -> str:
    """Return a short name of this computer, which may share the folder with others."""
    return hashlib.blake2b(platform.node().encode(), digest_size=3).hexdigest()


def _is_left(path: Path) -> bool:
    """Return whether a file or folder is a temporary one of a process that is gone.

    Of processes on other computers nothing is known, so theirs are left after an hour without a change.
    """
    if not path.name.startswith(TEMPORARY):
        return False
    number, _, rest = path.name.removeprefix(TEMPORARY).partition("-")
    if os.name != "posix" or not number.isdigit():
        return True
    if rest.partition("-")[0] != _host():
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime > FORGOTTEN
        return False
    try:
        os.kill(int(number), 0)  # asks, and does nothing
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left below a folder; others may write to it."""
    for where, folders, names in os.walk(folder):
        for name in [name for name in folders if name.startswith(TEMPORARY)]:
            folders.remove(name)
            if _is_left(Path(where, name)):
                shutil.rmtree(Path(where, name), ignore_errors=True)
        for name in names:
            if _is_left(Path(where, name)):
                with contextlib.suppress(OSError):
                    Path(where, name).unlink()


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically, lines ending in a line feed; names that are not UTF-8 keep their bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def staged(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a temporary path for each file; rename all when the block ends well, else leave everything as it was.

    A file that already exists is copied to its temporary path first, because some formats keep a part of it.

    Raises
    ------
    OutputError
        A folder cannot be made or written.
    """
    folder = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    made = next((above for above in (folder, *folder.parents) if above.exists()), folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(), dir=folder))
    except OSError as error:
        raise OutputError(
            f"Cannot write {paths[0]}: {error.strerror or error}; choose a folder that you may write to.", paths[0]
        ) from error
    try:
        waiting = [temporary / f"{number}_{path.name}" for number, path in enumerate(paths)]
        for path, place in zip(paths, waiting, strict=True):
            if path.exists():
                shutil.copyfile(path, place)
        yield waiting
        for path, place in zip(paths, waiting, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            place.replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {paths[0]}: {error.strerror or error}; free space.", paths[0]) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        while folder != made and not any(folder.iterdir()):  # folders that were made for this file
            folder.rmdir()
            folder = folder.parent


def beside(path: Path, ending: str, suffix: str | None = None) -> Path:
    """Return the path of an image with an ending after its stem, and another suffix where one is given."""
    stem, own = split_suffix(path.name)
    return path.with_name(f"{stem}{ending}{own if suffix is None else suffix}")


def refuse_existing(paths: Iterable[Path], overwrite: bool, instead: str = "another name") -> None:
    """Refuse to replace files; the error advises to choose `instead`.

    Raises
    ------
    OutputError
        One exists and may not be replaced.
    """
    there = [] if overwrite else [path for path in paths if path.exists()]
    if there:
        what = f"{there[0]} and {len(there) - 1} more already exist" if there[1:] else f"{there[0]} already exists"
        raise OutputError(f"{what}; add --overwrite or choose {instead}.", there[0])
