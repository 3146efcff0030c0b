"""Read a JSON file: one sentence for whatever is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from napari_gempick.io.reading import parsing, readable
from napari_gempick.model.errors import InputError

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
