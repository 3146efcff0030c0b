"""Errors meant for the user: one sentence that names the file and the remedy."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST = 1600


def printable(text: str) -> str:
    """Return text as it can be printed and written: control characters and stray bytes as escapes."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() and unicodedata.category(mark) != "Cs" else mark.encode("unicode_escape").decode()
        for mark in text
    )


class GempickError(Exception):
    """A problem that the user can understand and fix.

    Parameters
    ----------
    sentence : str
        One clear sentence: what is wrong, with which file, and what to do about it. Control characters in it, from
        names and values of files, become escapes, and a sentence with very long values loses its middle.
    path : Path or str, optional
        The file it is about. The sentence names it too.
    """

    def __init__(self, sentence: str, path: Path | str | None = None) -> None:
        sentence = printable(sentence)
        if len(sentence) > _LONGEST:
            sentence = f"{sentence[: _LONGEST // 2]} ... {sentence[-_LONGEST // 4 :]}"
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
