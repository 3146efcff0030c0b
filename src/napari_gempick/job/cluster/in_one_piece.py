"""A job folder comes into being whole: it is written under a hidden name beside its place, then renamed."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from napari_gempick.io.atomic import TEMPORARY
from napari_gempick.job.cluster.folder import open_job
from napari_gempick.job.cluster.script import write_script
from napari_gempick.job.output_folder import alone_in
from napari_gempick.model.errors import GempickError, OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.job.cluster.export import Exported
    from napari_gempick.job.cluster.folder import Job

P = ParamSpec("P")


def in_one_piece(export: Callable[P, Exported]) -> Callable[P, Exported]:
    """Make an export leave a whole job folder at its argument `folder` or none, even when it is killed.

    What a killed export leaves is hidden, and the next export to the same folder removes it.
    """
    signature = inspect.signature(export)

    @functools.wraps(export)
    def whole(*args: P.args, **kwargs: P.kwargs) -> Exported:
        call = signature.bind(*args, **kwargs)
        place = Path(os.path.abspath(call.arguments["folder"]))
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            return export(*args, **kwargs)  # refuses it
        beside = place.with_name(TEMPORARY + place.name)
        waiting = call.arguments["folder"] = beside / place.name
        with alone_in(beside):
            try:
                shutil.rmtree(waiting, ignore_errors=True)
                made = export(*call.args, **call.kwargs)
                _move(made.job, place)
            except GempickError as error:
                raise type(error)(error.sentence.replace(str(waiting), str(place)), place) from error
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        return replace(made, job=open_job(place))

    return whole


def _move(job: Job, place: Path) -> None:
    """Give a job folder its own name; its script names the new place."""
    write_script(job, place=place)
    try:
        if place.exists():
            place.rmdir()
        job.folder.rename(place)
    except OSError as error:
        raise OutputError(f"Cannot write {place}: {error.strerror or error}; choose another folder.", place) from error
