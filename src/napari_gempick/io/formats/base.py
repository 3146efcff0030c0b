"""What every coordinate format declares, how numbers are written, and the labels of optics groups."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from napari_gempick.io.formats.coordinate_set import ReadOptions
from napari_gempick.io.images.row_order import carried
from napari_gempick.io.reading import parsing
from napari_gempick.io.star import formatted
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.io.formats.coordinate_set import CoordinateSet
    from napari_gempick.model.geometry import Shape
    from napari_gempick.model.picks import Picks


Kept = Literal["score", "class", "view", "psi", "box size", "position", "folder"]
"""What a pick has: the class is the number of the template, the view its name, the position its decimals."""


@dataclass(frozen=True, eq=False)
class PicksInfo:
    """What a format may need besides the picks of one micrograph.

    Attributes
    ----------
    pixel_size : float or None
        Å, of the micrograph's file.
    box_size : int or None
        Pixels of the file.
    view_names : tuple of str
        `Picks.view` counts them from 0.
    micrograph : str
        Its name as a data set calls it, with folders and suffix; "" where it is not known.
    shape : (ny, nx) or None
        Of the micrograph, px.
    number : int
        Of the micrograph within the data set, from 1.
    micrograph_uid, exposure_group : int or None
        cryoSPARC's numbers of the micrograph and of its exposure group.
    uids : (n,) uint64 or None
        cryoSPARC's numbers of the picks.
    optics, ctf : mapping of str to str
        Of the micrograph, by RELION's labels: for data_optics, and for each particle.
    """

    pixel_size: float | None = None
    box_size: int | None = None
    view_names: tuple[str, ...] = ()
    micrograph: str = ""
    shape: Shape | None = None
    number: int = 1
    micrograph_uid: int | None = None
    exposure_group: int | None = None
    uids: NDArray[np.uint64] | None = None
    optics: Mapping[str, str] = field(default_factory=dict)
    ctf: Mapping[str, str] = field(default_factory=dict)


class ProvenFiles(Protocol):
    """Writes the picks of one micrograph in several formats; a file that proves wrong is not written.

    `proofs` has the proof of each format that was written, whose `sentence` says how it came out. See
    verification.prove.MicrographProof.
    """

    @property
    def proofs(self) -> Mapping[str, Any]: ...  # noqa: D102

    def write(self, name: str, path: Path, picks: Picks, info: PicksInfo) -> None: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Format:
    """A format of coordinate files; its reader and its writers raise what `read` and `write` say.

    Attributes
    ----------
    name : str
        As in ``--format``, ``--to`` and ``--from``.
    help : str
        One line for the user.
    suffix : str
        What follows a micrograph's stem in the name of a file that we write.
    reader : callable
        ``reader(path, options)`` returns a CoordinateSet; `options` are ReadOptions.
    writer : callable
        ``writer(path, picks, info)`` writes the picks of one micrograph atomically, in the program's frame.
    set_writer : callable or None
        ``set_writer(path, [(picks, info), ...])`` writes a data set into one file; None where that cannot be.
    holds : {"micrograph", "data set", "either"}
        What one file holds.
    loses : mapping of Kept to str
        A sentence for everything that the format cannot hold; the rest survives.
    suffixes : tuple of str
        Endings of file names to read, lower case.
    first_line : re.Pattern or None
        Tells this format from others with the same suffix by the first line of a file.
    aliases : tuple of str
        Other names.
    needs_shape : bool
        Reading and writing need the micrograph's size.
    place : callable or None
        ``place(micrograph)`` returns the path of a micrograph's file below the program's project folder, where the
        program itself makes it from the micrograph's name.
    """

    name: str
    help: str
    suffix: str
    reader: Callable[[Path | str, ReadOptions], CoordinateSet]
    writer: Callable[[Path | str, Picks, PicksInfo], None]
    set_writer: Callable[[Path | str, Sequence[tuple[Picks, PicksInfo]]], None] | None = None
    holds: Literal["micrograph", "data set", "either"] = "micrograph"
    loses: Mapping[Kept, str] = field(default_factory=dict)
    suffixes: tuple[str, ...] = ()
    first_line: re.Pattern[str] | None = None
    aliases: tuple[str, ...] = ()
    needs_shape: bool = False
    place: Callable[[str], str] | None = None

    def file_of(self, output_stem: str, micrograph: str) -> str:
        """Return the path of a micrograph's file below the output folder.

        Parameters
        ----------
        output_stem : str
            What the names of the micrograph's results begin with: "grid1/mic".
        micrograph : str
            Its name with folders and suffix.
        """
        if self.place is None:
            return f"{output_stem}{self.suffix}"
        return str(PurePosixPath(output_stem).parent / self.place(micrograph))

    def read(self, path: Path | str, options: ReadOptions | None = None) -> CoordinateSet:
        """Read a file; y counts as the program has it until `CoordinateSet.on` names the micrograph.

        Raises
        ------
        InputError
            The file is missing, unreadable, or not of this format.
        SettingsError
            The file needs an option that was not given.
        """
        with parsing(path, f"a coordinate file ({self.name})"), np.errstate(all="ignore"):
            return replace(self.reader(path, options or ReadOptions()), program=self.name)

    def write(self, path: Path | str, picks: Picks, info: PicksInfo) -> None:
        """Write the picks of one micrograph atomically, with y as the program that reads the file counts it.

        Raises
        ------
        SettingsError
            The format or its row order (io.images.row_order) needs something that `info` does not have.
        """
        self.writer(path, carried(picks, self.name, info.micrograph, info.shape, path), info)

    def write_set(self, path: Path | str, sets: Sequence[tuple[Picks, PicksInfo]]) -> None:
        """Write the picks of a data set into one file, as `write` does; only for formats that can hold one."""
        assert self.set_writer is not None
        rows = [(carried(picks, self.name, info.micrograph, info.shape, path), info) for picks, info in sets]
        self.set_writer(path, rows)


_WORDS: dict[Kept, str] = {
    "score": "scores",
    "class": "classes",
    "view": "the names of views",
    "psi": "angles (psi)",
    "box size": "the box size",
}


def lost(program: str, *what: Kept) -> dict[Kept, str]:
    """Return a sentence for everything that files of `program` cannot hold."""
    sentences = {item: f"{program} has no place for {_WORDS[item]}." for item in what if item in _WORDS}
    if "position" in what:
        sentences["position"] = f"{program} has whole numbers: positions are rounded to pixels."
    if "folder" in what:
        sentences["folder"] = f"{program} has no place for the micrographs' folders."
    return sentences


def box_of(info: PicksInfo, program: str, path: Path | str) -> int:
    """Return the box size in pixels.

    Raises
    ------
    SettingsError
        There is none.
    """
    if info.box_size is None:
        raise SettingsError(
            f"{program} files need a box size; give --box in pixels (gempick convert) "
            "or --diameter in Å (gempick pick).",
            path,
        )
    return info.box_size


def shape_of(shape: Shape | None, program: str, path: Path | str) -> Shape:
    """Return (ny, nx) of the micrograph.

    Raises
    ------
    SettingsError
        It is not known.
    """
    if shape is None:
        raise SettingsError(
            f"{path}: {program} files need the size of the micrograph; give --shape NY,NX or --micrographs.", path
        )
    return shape


def fixed(values: NDArray[np.float64]) -> list[str]:
    """Three decimals, and never a negative zero."""
    return formatted("%.3f", np.round(values, 3) + 0.0)


def turned(psi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring angles to [0, 360) as they will be rounded."""
    return np.round(psi % 360.0, 3) % 360.0


def exact(values: NDArray[np.float32]) -> list[str]:
    """Nine digits, from which single precision comes back to the last bit."""
    return formatted("%.9g", values)


def whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round to whole pixels, halves up."""
    return np.floor(values + 0.5).astype(np.int64)


def unknown_as(value: float, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace NaN by a program's value for unknown scores."""
    return np.where(np.isnan(numbers), np.float32(value), numbers)


def view_of(picks: Picks, info: PicksInfo, unknown: str = "") -> list[str]:
    """Return the name of each pick's view."""
    names = info.view_names
    return [names[view] if 0 <= view < len(names) else unknown for view in picks.view.tolist()]


_SUFFIX = re.compile(
    r"(\.(star|csv|tsv|tab|txt|c?box|csg?|pos|tiff?|eer|mrcs?(\.gz|\.bz2)?)|(_info)?\.json)$", re.IGNORECASE
)
_ENDING = re.compile(r"_(autopick|automatch|manualpick|topaz|truth|picks)$")


def stem_of(name: str) -> str:
    """Return the micrograph's name that a file name stands for: without suffix, _autopick, _truth or _picks."""
    return _ENDING.sub("", _SUFFIX.sub("", name)) or name


NAME, GROUP, GROUP_NAME = "rlnMicrographName", "rlnOpticsGroup", "rlnOpticsGroupName"
VOLTAGE, CS, AMPLITUDE = "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"
CTF = (
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnPhaseShift",
    "rlnCtfBfactor",
    "rlnCtfScalefactor",
    "rlnCtfAstigmatism",
    "rlnCtfFigureOfMerit",
    "rlnCtfMaxResolution",
)
"""Labels that are carried over from a micrograph to its particles."""
ASSUMED = {VOLTAGE: ("300", "voltage 300 kV"), CS: ("2.7", "Cs 2.7 mm"), AMPLITUDE: ("0.1", "amplitude contrast 0.1")}
"""What particles get where nothing is known, and how a sentence calls it; RELION refuses particles without."""
