"""A micrograph in run.json: what its line says, and the micrograph that a line stands for."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.matching.search import SHARED_FROM
from napari_gempick.io.formats import FORMATS
from napari_gempick.io.formats.base import ASSUMED
from napari_gempick.io.formats.relion import PARTICLES
from napari_gempick.io.images.micrograph import LIST, plausible
from napari_gempick.io.images.row_order import row_order_note
from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.micrograph_names import MicrographTable
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.values import counted
from napari_gempick.results.thresholds import NOTHING, doubtful

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.engine.picking.false_rate import FalseRate
    from napari_gempick.io.candidates import Candidates
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.score_maps import BankIndex
    from napari_gempick.model.settings import PickSettings


FROM_BOTTOM = "y_from_last_row"
"""In run.json, the formats whose files count y from the last row of a TIFF micrograph."""


def run_notes(run: dict[str, Any]) -> list[str]:
    """Return what the user must know about a run: row order and assumptions of its files, and doubtful picks."""
    names = dict.fromkeys(name for row in run["micrographs"] for name in row.get(FROM_BOTTOM, []))
    notes = [row_order_note(list(names))] if names else []
    settings = run["settings"]
    if PARTICLES.name in ",".join(settings["format"]) and not (settings.get("ctf") or "").lower().endswith(".star"):
        assumed = ", ".join(text for _, text in ASSUMED.values())
        notes.append(
            f"Assumed in the particle list: {assumed}; --ctf with a micrographs STAR file gives the right values."
        )
    if settings.get("search") == "compressed":
        notes += _in_full(run["micrographs"])
    return [*notes, *_nothing(run["micrographs"]), *doubtful(run["micrographs"])]


def _in_full(rows: list[dict[str, Any]]) -> list[str]:
    """Say that micrographs were searched in full although a search by a basis was asked for."""
    searched = [row for row in rows if "error" not in row]
    full = sum("map_bound" not in row for row in searched)
    if not full:
        return []
    which = "all micrographs" if full == len(searched) else counted(full, "micrograph")
    return [
        f"Searched in full despite --search compressed: {which}. A basis needs a mask that at least {SHARED_FROM} "
        "rotated templates share, such as a circle, and memory for these templates."
    ]


def _nothing(rows: list[dict[str, Any]]) -> list[str]:
    """Say why a run picked nothing, where no score reaches the thresholds that were given."""
    done = [row for row in rows if row.get("best_score") is not None]
    if not done or any(row["picks"] for row in done):
        return []
    best = max(row["best_score"] for row in done)
    thresholds = [value for row in done for value in row.get("thresholds", {}).values()]
    if None in thresholds or not thresholds or best >= min(thresholds):
        return []
    return [
        f"Nothing was picked: the best score is {best:.3f}, below the threshold of {min(thresholds):g}; lower "
        "--threshold or give --threshold auto, and check the pixel sizes and --contrast."
    ]


def describe(picks: Picks, candidates: Candidates) -> dict[str, Any]:
    """Return what run.json says about a micrograph's picks."""
    best = candidates.picks.score
    return {
        "picks": len(picks),
        "picks_per_view": {name: int((picks.view == i).sum()) for i, name in enumerate(candidates.view_names)},
        "best_score": float(best[0]) if len(best) else None,
        "candidates": len(best),
        "shape": list(candidates.file_shape),
        "pixel_size": candidates.pixel_size,
        "map_pixel_size": candidates.map_pixel_size,
    }


def describe_thresholds(
    view_names: tuple[str, ...], thresholds: Sequence[float], rates: Sequence[FalseRate] | None
) -> dict[str, Any]:
    """Return what run.json says about thresholds and the estimated rate of false picks of each view."""
    shown_ = {
        name: None if value == NOTHING else round(float(value), 6)
        for name, value in zip(view_names, thresholds, strict=True)
    }
    if rates is None:
        return {"thresholds": shown_}
    of_views = zip(view_names, rates, thresholds, strict=True)
    return {"thresholds": shown_, "estimated_fdr": {name: round(rate.at(value), 4) for name, rate, value in of_views}}


def formats_of(settings: PickSettings) -> list[str]:
    """Return the coordinate formats to write; STAR is always among them.

    Raises
    ------
    SettingsError
        A format is unknown.
    """
    names = [name.strip().lower() for text in settings.format for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise SettingsError(f"--format {','.join(unknown)}: choose from {', '.join(FORMATS)}.")
    return list(dict.fromkeys(["star", *names]))


def table_of(settings: PickSettings) -> MicrographTable | None:
    """Return what the STAR file with the CTFs says about micrographs, None where no list of particles needs it.

    Raises
    ------
    InputError
        It cannot be read.
    """
    ctf = settings.ctf or ""
    lists = PARTICLES.name in formats_of(settings) and ctf.lower().endswith(".star")
    return MicrographTable(Path(ctf)) if lists else None


def micrograph_of(row: dict[str, Any]) -> MicrographFile:
    """Return the micrograph of a run.json line; its results lie where `name` says."""
    path, name = Path(row["path"]), PurePosixPath(row["name"])
    whole = name.name == path.name
    listed = row["pixel_size"] if row.get("pixel_size_source") == LIST else None
    return MicrographFile(path, name.parent / path.name, whole_name=whole, pixel_size=listed)


def row_of(micrograph: MicrographFile) -> dict[str, Any]:
    """Return what `micrograph_of` reads."""
    row: dict[str, Any] = {"name": micrograph.output_stem, "path": str(micrograph.path)}
    listed = plausible(micrograph.pixel_size)
    return row if listed is None else {**row, "pixel_size": listed, "pixel_size_source": LIST}


def columns_of(index: BankIndex) -> dict[str, list[Any]]:
    """Return view and psi of every k, as columns."""
    k = np.arange(len(index), dtype=np.int32)
    return {
        "k": k.tolist(),
        "view": [index.view_names[view] for view in index.view(k)],
        "section": index.section(k).tolist(),
        "psi": index.psi(k).tolist(),
        "searched": index.searched().tolist(),
    }
