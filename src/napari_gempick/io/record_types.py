"""Names in JSON records, as pydantic checks them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from napari_gempick.io.names import check_name, is_below
from napari_gempick.model.errors import InputError, printable


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
