"""Errors meant for the user: one sentence that names the file and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class GempickError(Exception):
    """A problem that the user can understand and mend.

    Parameters
    ----------
    sentence : str
        One clear sentence: what is wrong, with which file, and what to do about it.
    path : Path or str, optional
        The file it is about. The sentence names it too.
    """

    def __init__(self, sentence: str, path: Path | str | None = None) -> None:
        super().__init__(sentence)
        self.path = None if path is None else str(path)

    @property
    def sentence(self) -> str:
        """The message for the user."""
        return str(self.args[0])


class InputError(GempickError):
    """A micrograph, template, mask or coordinate file that cannot be used."""


class SettingsError(GempickError):
    """Settings that contradict themselves or the data; nothing can be done before they change."""


class OutputError(GempickError):
    """A result that cannot be written."""


class DeviceError(GempickError):
    """A device that is absent or that failed; its work may go to the others."""


class Cancelled(GempickError):
    """The user stopped the run."""


class ProofError(GempickError):
    """Coordinates that do not lie on the particles; their file was not written."""
