"""Say in one sentence why a file cannot be opened."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Turn the system's errors about `path` within the block into ours.

    Raises
    ------
    InputError
        The file is missing, a folder, or may not or cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name.", path) from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, not a file; name a file in it.", path) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check its permissions.", path) from error
