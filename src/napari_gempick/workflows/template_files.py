"""Names of the files that the template commands write, and the refusal to replace any of them unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_gempick.model.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def beside(path: Path, ending: str, suffix: str | None = None) -> Path:
    """Return the path with an ending after its stem, and another suffix where one is given."""
    return path.with_name(f"{path.stem}{ending}{path.suffix if suffix is None else suffix}")


def refuse_existing(paths: Iterable[Path], overwrite: bool) -> None:
    """Refuse to replace files.

    Raises
    ------
    OutputError
        One exists and may not be replaced.
    """
    for path in paths:
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already; add --overwrite or choose another name.", path)
