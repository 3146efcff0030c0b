"""An output folder: one run at a time, and what an earlier run left there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from napari_gempick.device.locks import Busy, give_back, take
from napari_gempick.io.atomic import sweep
from napari_gempick.model.errors import GempickError, SettingsError
from napari_gempick.results.folder import Results
from napari_gempick.results.run_file import read_run, settings_of
from napari_gempick.results.run_rows import micrograph_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


_LOCK = ".gempick.lock"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of an output folder for a block; a run that was killed keeps nobody out.

    Raises
    ------
    SettingsError
        Another run is at work there.
    """
    made = not folder.exists()
    with contextlib.suppress(OSError):  # who writes there says what is wrong
        folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = take(folder / _LOCK)
    except Busy:
        raise SettingsError(
            f"Another run is writing to {folder}; wait until it has finished, or choose another folder.", folder
        ) from None
    try:
        if lock is not None:
            sweep(folder)
        yield
    finally:
        give_back(lock, remove=True)
        if made:
            with contextlib.suppress(OSError):  # what was made for nothing
                folder.rmdir()


def left_over(folder: Path, kept: Sequence[Path]) -> list[Path]:
    """Return the files that the run of a folder's run.json wrote, as far as they are there and not among `kept`.

    Only what that run must have written itself is among them; nothing is said where run.json cannot be read.
    """
    try:
        run = read_run(folder)
        results = Results(folder, settings_of(folder, run), float(run["diameter"]))
    except GempickError:
        return []
    names = tuple(view["name"] for view in run["views"])
    rows = [micrograph_of(row) for row in run["micrographs"] if "error" not in row]
    listed = dict.fromkeys(path for row in rows for path in results.everything(row, names))
    return [path for path in listed if path not in set(kept) and path.is_file()]
