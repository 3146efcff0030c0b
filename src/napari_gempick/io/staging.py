"""Write several files under temporary names, look at them, and only then give them their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gempick.io.atomic import TEMPORARY
from napari_gempick.model.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def staged(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a temporary path for each file; rename all when the block ends well, else leave everything as it was.

    A file that is there already is copied to its temporary path first, for some formats keep a part of it.

    Raises
    ------
    OutputError
        A folder cannot be made or written.
    """
    folder = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    made = next((above for above in (folder, *folder.parents) if above.exists()), folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder))
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
        while folder != made and not any(folder.iterdir()):  # what was made for nothing
            folder.rmdir()
            folder = folder.parent
