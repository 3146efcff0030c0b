"""Micrographs that arrive in folders: which files are new, complete or changed, by looking again and again.

Folders are read anew at each look, without notices of the operating system, which network file systems do not send.
What `io.listing` leaves out of a folder is left out here, and each micrograph gets the name that a listing of all files
gives it: files that come later may turn one into a companion or into one of two with the same stem.
"""

from __future__ import annotations

import fnmatch
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_gempick.io.images.micrograph import PACKED, has_sections, open_image, sides_of
from napari_gempick.io.images.mrc import header_of
from napari_gempick.io.images.mrc_layout import HEADER_BYTES
from napari_gempick.io.images.tiff import MAGIC, pages_of
from napari_gempick.io.listing import (
    MicrographFile,
    by_parts,
    common_folder,
    is_particle,
    left_out,
    may_be_particle,
    plain_stem,
    relative_to,
    stem_of_path,
    walk,
    without_collisions,
)
from napari_gempick.io.reading import parsing, readable
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 10
"""A file that is not complete counts as broken, and one that looks like a companion as a micrograph, after this many
settle times without a change."""
_Stamp = tuple[int, int, int, int]
"""Size, last change of the content, number, and last change of anything (permissions too) of a file."""


@dataclass(slots=True)
class _Seen:
    """A file: its stamp (None for a broken link), since when it has this stamp, and its state."""

    root: int
    stamp: _Stamp | None = None
    since: float | None = None
    complete: bool | None = None
    state: Literal["waiting", "taken", "failed", "left out", "companion", "particle"] = "waiting"


@dataclass
class Look:
    """What one look at the folders found.

    Attributes
    ----------
    complete : list of MicrographFile
        To be picked now.
    gone : list of MicrographFile
        Complete before, but no longer what they were: the file has changed, has become a companion, or has another name
        now; results of that name are no longer valid. A file to be picked again is in `complete`, now or later.
    left_out : list of str
        Paths of companions, files with several sections and images of particles.
    seconds : float
        How long it took to list the folders.
    """

    complete: list[MicrographFile] = field(default_factory=list)
    gone: list[MicrographFile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Arrivals:
    """The micrographs in folders, as they come.

    Parameters
    ----------
    folders : sequence of str or Path
        Searched with their subfolders; hidden ones are skipped. They need not exist yet.
    skip : sequence of str or Path
        Folders to leave out, such as the output folder.
    settle : float
        Seconds without a change after which a file can be complete.
    pattern : str
        Only files whose names match are considered.
    """

    def __init__(
        self, folders: Sequence[str | Path], skip: Sequence[str | Path], settle: float, pattern: str = "*"
    ) -> None:
        self.folders = [os.path.abspath(folder) for folder in folders]
        self._given = [str(folder) for folder in folders]
        self._skipped = [os.path.abspath(folder) for folder in skip]
        self._base, self._settle, self._pattern = common_folder(self.folders), settle, pattern
        self._seen: dict[str, _Seen] = {}
        self._waiting: set[str] = set()
        self._failed: set[str] = set()
        self._small: dict[str, tuple[int, int]] = {}
        self._largest: dict[int, int] = {}
        self._stems: set[str] = set()
        self._companions: dict[str, set[str]] = {}
        self._groups: dict[str, dict[str, MicrographFile]] = {}
        self._files: dict[str, MicrographFile] = {}

    @property
    def waiting(self) -> int:
        """How many files are there that are not complete yet."""
        return len(self._waiting)

    def look(self, now: float, *, everywhere: bool = False) -> Look:
        """Look at the folders: once at each, and at the files that are waiting or have failed.

        Parameters
        ----------
        now : float
            Seconds on a clock that only goes forward.
        everywhere : bool
            Look also whether files have changed that were complete.
        """
        found, begun = Look(), time.monotonic()
        there: dict[str, int] = {}
        for number, folder in enumerate(self.folders):
            for path in walk(folder, self._skipped):
                if fnmatch.fnmatchcase(os.path.basename(path), self._pattern):
                    there.setdefault(path, number)
        found.seconds = time.monotonic() - begun
        for path, number in there.items():
            if path not in self._seen:
                self._enter(path, number, found)
        for path in self._waiting - there.keys():
            self._waiting.discard(path)
            del self._seen[path]
            self._free_companions(stem_of_path(path))
        for path in [*(self._seen if everywhere else self._failed)]:
            self._check_again(path, found)
        for path in sorted(self._waiting, key=self.place):
            self._wait(path, now, found)
        return found

    def _enter(self, path: str, root: int, found: Look) -> None:
        """Note a new file, and which others it makes companions."""
        self._seen[path] = _Seen(root)
        self._waiting.add(path)
        plain = plain_stem(path)
        if plain:
            self._companions.setdefault(plain, set()).add(path)
        stem = stem_of_path(path)
        self._stems.add(stem)
        for other in (*self._companions.get(stem, ()), *([path] if plain in self._stems else [])):
            seen = self._seen.get(other)
            if seen is not None and seen.state != "companion":
                self._drop(other, found)
                seen.state = "companion"
                found.left_out.append(other)

    def _free_companions(self, stem: str) -> None:
        """Let files wait again that were left out beside a micrograph that has gone before it was complete."""
        if any(stem_of_path(other) == stem for other in self._seen):
            return
        self._stems.discard(stem)
        for other in self._companions.get(stem, ()):
            seen = self._seen.get(other)
            if seen is not None and seen.state == "companion":
                seen.state = "waiting"
                self._waiting.add(other)

    def _drop(self, path: str, found: Look) -> None:
        """Forget that a file was complete."""
        self._waiting.discard(path)
        self._failed.discard(path)
        self._small.pop(path, None)
        if path in self._files:
            group = self._groups[_group(self._files[path])]
            del group[path]
            found.gone.append(self._files.pop(path))
            self._rename(group, found)

    def _check_again(self, path: str, found: Look) -> None:
        """Let a file wait again that has changed since it was complete."""
        seen = self._seen[path]
        if seen.state in ("waiting", "companion") or not self._has_changed(path, seen):
            return
        self._wait_again(path, found)

    def _wait_again(self, path: str, found: Look) -> None:
        self._drop(path, found)
        seen = self._seen[path]
        seen.state, seen.since = "waiting", None
        self._waiting.add(path)

    @staticmethod
    def _has_changed(path: str, seen: _Seen) -> bool:
        stamp = _stamp(path)
        if stamp is None:  # removed: its results stay
            return False
        return stamp != seen.stamp if seen.state == "failed" or seen.stamp is None else stamp[:3] != seen.stamp[:3]

    def _wait(self, path: str, now: float, found: Look) -> None:
        """Take a file that has not changed for long enough and is complete."""
        seen, stamp = self._seen[path], _stamp(path)
        if stamp != seen.stamp or seen.since is None:
            seen.stamp, seen.since, seen.complete = stamp, now, None
        unchanged = now - seen.since
        if unchanged < self._settle:
            return
        if seen.complete is None:
            seen.complete = is_complete(Path(path))
        late = unchanged >= PATIENCE * self._settle
        if not late and (plain_stem(path) or not seen.complete):
            return
        self._waiting.discard(path)
        if has_sections(path):
            seen.state = "left out"
            found.left_out.append(path)
            return
        if self._is_particle(path, seen, found):
            return
        seen.state = "taken"
        file = MicrographFile(Path(path), relative_to(path, self._base))
        group = self._groups.setdefault(_group(file), {})
        group[path] = file
        self._rename(group, found)

    def _is_particle(self, path: str, seen: _Seen, found: Look) -> bool:
        """Leave a file out that is small beside others of its folder; leave out those beside which it is large."""
        sides = sides_of(path)
        if sides is None:
            return False
        if may_be_particle(sides):
            self._small[path] = sides
        self._largest[seen.root] = largest = max(min(sides), self._largest.get(seen.root, 0))
        for other, its in list(self._small.items()):
            known = self._seen.get(other)
            if known is not None and known.root == seen.root and is_particle(its, largest):
                self._drop(other, found)
                known.state = "particle"
                found.left_out.append(other)
        return seen.state == "particle"

    def _rename(self, group: dict[str, MicrographFile], found: Look) -> None:
        """Give the files that might share a name those that a listing gives them; they are to be picked again."""
        for file in without_collisions(list(group.values())):
            path = str(file.path)
            before = self._files.get(path)
            if file != before:
                if before is not None:
                    found.gone.append(before)
                    self._failed.discard(path)
                    self._seen[path].state = "taken"
                self._files[path] = file
                found.complete.append(file)

    def holds(self, micrograph: MicrographFile, *, unchanged: bool = False) -> bool:
        """Return whether a micrograph that was complete is still the same; `unchanged` looks at the file.

        One that has changed and is complete again is another one, also where it equals the first.
        """
        path = str(micrograph.path)
        return self._files.get(path) is micrograph and not (unchanged and self._has_changed(path, self._seen[path]))

    def mark(self, micrograph: MicrographFile, *, failed: bool) -> None:
        """Note whether a micrograph cannot be used before its file changes; such files are checked at each poll."""
        path = str(micrograph.path)
        self._seen[path].state = "failed" if failed else "taken"
        (self._failed.add if failed else self._failed.discard)(path)

    def forget(self, micrograph: MicrographFile) -> Look:
        """Take a file for new that has changed or vanished; return as `look` what follows for others."""
        found = Look()
        self._wait_again(str(micrograph.path), found)
        return found

    def notes(self) -> list[str]:
        """Return a sentence for each folder in which files are left out."""
        sentences: list[str] = []
        for number, folder in enumerate(self._given):
            kinds = [
                [path for path, seen in self._seen.items() if seen.root == number and seen.state == state]
                for state in ("companion", "left out", "particle")
            ]
            sentences += left_out(folder, *kinds)
        return sentences

    def place(self, path: str) -> tuple[int, list[str]]:
        """Return what paths are sorted by: in the order of a listing of the folders."""
        seen = self._seen.get(path)
        return len(self.folders) if seen is None else seen.root, by_parts(path)


def _group(file: MicrographFile) -> str:
    """Return what the names of all files have in common that could get the same name: no suffix at all."""
    text, shorter = "", str(file.relative)
    while text != shorter:
        text, shorter = shorter, stem_of_path(shorter)
    return text


def _stamp(path: str) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def is_complete(path: Path) -> bool:
    """Return whether a micrograph's file holds all that its header announces.

    An MRC file has the size that shape and mode ask for; of a TIFF or a compressed file the last image can be read.
    """
    try:
        with readable(path), path.open("rb") as stream:
            head, size = stream.read(HEADER_BYTES), os.fstat(stream.fileno()).st_size
        if not head.startswith((*MAGIC, *PACKED)):
            return len(head) == HEADER_BYTES and size >= header_of(path, head)[0]
        with parsing(path, "an image"):
            if head.startswith(MAGIC) and not pages_of(path, size)[1]:
                return False
            np.asarray(open_image(path).data[-1])
    except InputError:
        return False
    return True
