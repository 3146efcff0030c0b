"""What a search left behind for a micrograph: its line of run.json, and what each k means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_gempick.io.listing import MicrographFile, with_free_stem
from napari_gempick.model.score_maps import BankIndex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Result:
    """What a search left behind for one micrograph.

    Attributes
    ----------
    row : mapping
        Its line of run.json.
    bank : BankIndex
        What each k means.
    diameter : float
        The particle's, Å.
    digest : str
        Of the settings that were searched with.
    maps : bool
        Score and index maps were kept.
    """

    row: Mapping[str, Any]
    bank: BankIndex | None = None
    diameter: float = 0.0
    digest: str = ""
    maps: bool = False

    @property
    def error(self) -> str:
        """Why the micrograph failed; empty where it did not."""
        return str(self.row.get("error", ""))


def new_files(
    found: Sequence[MicrographFile], files: Sequence[MicrographFile], left: Mapping[str, Path]
) -> list[MicrographFile]:
    """Return the micrographs that are not in a list yet, each with a name of its own.

    A name is taken by a micrograph of the list, or by another file that has `left` it: its results are still there.
    """
    known, stems = {file.path for file in files}, {file.output_stem for file in files}
    added: list[MicrographFile] = []
    for file in found:
        if file.path not in known:
            others = {stem for stem, path in left.items() if path != file.path}
            added.append(with_free_stem(file, stems | others))
            stems.add(added[-1].output_stem)
    return added


def bank_of(run: Mapping[str, Any]) -> BankIndex:
    """Return what each k of a run means, from its run.json."""
    return BankIndex(
        tuple(view["name"] for view in run["views"]),
        tuple(int(view["sections"]) for view in run["views"]),
        float(run.get("angle_step", run["settings"]["angle_step"])),
        float(run["settings"]["angle_range"]),
    )


def results_of(run: Mapping[str, Any]) -> dict[str, Result]:
    """Return the results of every micrograph of a run.json."""
    settings = run["settings"]
    kept = bool(settings.get("save_maps") or settings.get("per_view_maps"))
    bank, diameter = bank_of(run), float(run["diameter"])
    return {row["name"]: Result(row, bank, diameter, "", kept) for row in run["micrographs"]}
