"""The command that repeats a search."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from napari_gempick.io.star import write_tables
from napari_gempick.model.declaration import declarations
from napari_gempick.model.settings import PickSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_gempick.io.listing import MicrographFile


def inputs_of(files: Sequence[MicrographFile], folder: Path) -> list[Path]:
    """Return what to give `gempick pick`: the files, and a STAR list of those whose pixel size came from one.

    Parameters
    ----------
    files : sequence of MicrographFile
    folder : Path
        Gets micrographs.star where a list is needed.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    listed = [file for file in files if file.pixel_size is not None]
    if not listed:
        return [file.path for file in files]
    star = folder / "micrographs.star"
    names = [str(file.path) for file in listed]
    sizes = [repr(file.pixel_size) for file in listed]
    write_tables(star, {"micrographs": {"rlnMicrographName": names, "rlnMicrographPixelSize": sizes}})
    return [star, *(file.path for file in files if file.pixel_size is None)]


def command_line(settings: PickSettings, micrographs: Sequence[Path], folder: Path) -> str:
    """Return `gempick pick ...` with every setting that is not the default, quoted for a shell."""
    words = ["gempick", "pick", *(str(path) for path in micrographs)]
    for name, one in declarations(PickSettings).items():
        value = getattr(settings, name)
        if value == one.default:
            continue
        if one.type is bool:
            words.append(one.flag if value else f"--no-{one.flag[2:]}")
        else:
            for item in value if one.many else (value,):
                words += [one.flag, f"{item:.12g}" if isinstance(item, float) else str(item)]
    return shlex.join([*words, "-o", str(folder)])
