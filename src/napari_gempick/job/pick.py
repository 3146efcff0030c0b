"""Pick a list of micrographs into a folder: search, candidates, picks, files, run.json."""

from __future__ import annotations

import functools
import json
import os
import platform
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import napari_gempick
from napari_gempick.device.discover import open_devices
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.peaks import Selection, find_candidates, select
from napari_gempick.io.atomic import write_text
from napari_gempick.io.coordinates import FORMATS, PicksInfo, read_candidates, write_autopick_index, write_candidates
from napari_gempick.io.candidates import Candidates
from napari_gempick.io.mrc import write_mrc
from napari_gempick.job.inputs import BankMaker, loader, read_exclusion, read_views
from napari_gempick.model.errors import GempickError, OutputError, SettingsError
from napari_gempick.run.pipeline import Outcome, Progress, search_all
from napari_gempick.run.search import DevicePool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.geometry import Grid
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.scores import ScoreMap
    from napari_gempick.model.settings import PickSettings

RUN_FILE, INDEX_FILE = "run.json", "autopick.star"
NOT_REPRODUCING = ("devices", "threads", "format", "save_maps", "per_view_maps")
"""Settings that do not change which picks come out."""


@dataclass
class Report:
    """What a run did; becomes run.json."""

    micrographs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Micrographs that could not be used."""
        return sum("error" in row for row in self.micrographs)


class Results:
    """The output folder of a run.

    Parameters
    ----------
    folder : Path
    settings : PickSettings
    makers : BankMaker
    """

    def __init__(self, folder: Path, settings: PickSettings, makers: BankMaker) -> None:
        self.folder, self._settings, self._makers = folder, settings, makers

    def _path(self, micrograph: MicrographFile, suffix: str, below: str = "") -> Path:
        return self.folder / below / f"{micrograph.output_stem}{suffix}"

    def coordinates(self, micrograph: MicrographFile) -> Path:
        """Return the path of a micrograph's STAR file."""
        return self._path(micrograph, FORMATS["star"].suffix)

    def candidates(self, micrograph: MicrographFile) -> Path:
        """Return the path of a micrograph's candidates."""
        return self._path(micrograph, ".star", "candidates")

    def prepare(self, *, overwrite: bool, resume: bool) -> dict[str, Any] | None:
        """Check the folder; return the earlier run.json when resuming.

        Raises
        ------
        SettingsError
            It holds results and neither flag is given, or the earlier run had other settings.
        """
        run_file = self.folder / RUN_FILE
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file; give -o a folder.", self.folder)
        present = [name for name in (RUN_FILE, INDEX_FILE, "candidates") if (self.folder / name).exists()]
        if not present or overwrite:
            return None
        if not resume:
            raise SettingsError(
                f"{self.folder} already holds results ({', '.join(present)}); use --resume to go on, --overwrite to replace "
                "them, or another folder.",
                self.folder,
            )
        if not run_file.exists():
            raise SettingsError(f"{run_file} is missing, so nothing can be resumed; use --overwrite.", run_file)
        earlier = read_run(self.folder)
        mine = json.loads(self._settings.model_dump_json())
        changed = [
            name
            for name, value in mine.items()
            if name not in NOT_REPRODUCING and earlier.get("settings", {}).get(name) != value
        ]
        if changed or earlier.get("views") != self._makers.record():
            what = ", ".join("--" + name.replace("_", "-") for name in changed) or "the templates"
            raise SettingsError(f"{self.folder} was made with other settings ({what}); use --overwrite or another folder.")
        return earlier

    def write(self, micrograph: MicrographFile, outcome: Outcome) -> dict[str, Any]:
        """Write one micrograph's results; return its line in run.json. The STAR file comes last: it marks the end."""
        scores = outcome.scores
        assert scores is not None
        settings, grid = self._settings, scores.grid
        names = scores.bank.view_names
        thresholds = settings.threshold_of(names)
        floor = min([settings.candidate_floor, *thresholds])
        candidates = find_candidates(scores, floor)
        excluded = read_exclusion(settings, micrograph.path, grid.file_shape)
        picks = select(candidates, self.selection(grid), grid, excluded)
        if settings.save_maps or settings.per_view_maps:
            self._write_maps(micrograph, "", scores)
            if settings.per_view_maps:
                for view, maps in enumerate(outcome.per_view):
                    self._write_maps(micrograph, f"_{names[view]}", maps)
        shape = (int(scores.score.shape[0]), int(scores.score.shape[1]))
        write_candidates(
            self.candidates(micrograph),
            Candidates(candidates, names, grid.file_shape, shape, grid.pixel_size, grid.map_pixel_size, floor),
        )
        self.write_picks(micrograph, picks, grid.pixel_size)
        best = float(candidates.score[0]) if len(candidates) else None
        return {
            **count(picks, names),
            "best_score": best,
            "candidates": len(candidates),
            "shape": list(grid.file_shape),
            "pixel_size": grid.pixel_size,
            "map_pixel_size": grid.map_pixel_size,
            "seconds": round(outcome.seconds, 3),
        }

    def selection(self, grid: Grid) -> Selection:
        """Return how picks are chosen on a grid."""
        settings = self._settings
        distance = self._makers.diameter / 2 if settings.min_distance is None else settings.min_distance
        border = settings.border if settings.border is not None else (settings.diameter or 0.0) / 2
        return Selection(
            thresholds=settings.threshold_of(self._makers.index.view_names),
            min_distance=distance / grid.map_pixel_size,
            max_threshold=settings.max_threshold,
            border=border / grid.pixel_size,
            max_picks=settings.max_picks,
        )

    def write_picks(self, micrograph: MicrographFile, picks: Picks, pixel_size: float) -> None:
        """Write the coordinates in every format asked for, the STAR file last."""
        info = PicksInfo(pixel_size, self._makers.box_size(pixel_size), self._makers.index.view_names)
        for name in sorted(formats_of(self._settings), key=lambda name: name == "star"):
            FORMATS[name].write(self._path(micrograph, FORMATS[name].suffix), picks, info)

    def _write_maps(self, micrograph: MicrographFile, which: str, maps: ScoreMap) -> None:
        pixel_size = maps.grid.map_pixel_size
        write_mrc(self._path(micrograph, f"{which}_ncc.mrc", "maps"), maps.score, pixel_size)
        write_mrc(self._path(micrograph, f"{which}_index.mrc", "maps"), maps.index.astype(np.float32), pixel_size)

    def write_index(self, micrographs: Sequence[MicrographFile]) -> None:
        """Write the list of all coordinate files that are there, sorted by name."""
        ordered = sorted(micrographs, key=lambda item: item.output_stem)
        rows = [(_shown(m.path), _shown(self.coordinates(m))) for m in ordered if self.coordinates(m).exists()]
        write_autopick_index(self.folder / INDEX_FILE, rows)

    def write_run(self, report: Report, extra: dict[str, Any]) -> None:
        """Write run.json."""
        text = json.dumps(
            {
                "program": f"napari-gempick {napari_gempick.__version__}",
                "settings": json.loads(self._settings.model_dump_json()),
                "views": self._makers.record(),
                "angles": {
                    "rotations_per_section": self._makers.index.n_rotations,
                    "search_image_k": "k = section * rotations_per_section + rotation; psi = rotation * angle_step",
                    "angle_step": self._makers.index.angle_step,
                    "search_images": [
                        {"k": k, "view": view, "section": section, "psi": psi}
                        for k, view, section, psi in _search_images(self._makers.index)
                    ],
                },
                "diameter": self._makers.diameter,
                "micrographs": report.micrographs,
                **extra,
            },
            indent=1,
            ensure_ascii=False,
        )
        write_text(self.folder / RUN_FILE, text + "\n")


def _search_images(index: Any) -> list[tuple[int, str, int, float]]:
    k = np.arange(len(index), dtype=np.int32)
    views = [index.view_names[view] for view in index.view(k)]
    return list(zip(k.tolist(), views, index.section(k).tolist(), index.psi(k).tolist(), strict=True))


def _shown(path: Path) -> Path:
    """Return the path relative to the current folder when it lies below it, else absolute."""
    path = Path(os.path.abspath(path))
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def count(picks: Picks, view_names: Sequence[str]) -> dict[str, Any]:
    """Return the number of picks, in all and of each view."""
    return {
        "picks": len(picks),
        "picks_per_view": {name: int((picks.view == i).sum()) for i, name in enumerate(view_names)},
    }


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


def read_run(folder: Path) -> dict[str, Any]:
    """Read run.json.

    Raises
    ------
    SettingsError
        It is missing or damaged.
    """
    path = folder / RUN_FILE
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing; {folder} is no folder of results.", path) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read ({error}); run again with --overwrite.", path) from error
    if not isinstance(run, dict) or not isinstance(run.get("settings"), dict):
        raise SettingsError(f"{path} is no run.json of gempick; run again with --overwrite.", path)
    return run


def pick_files(
    settings: PickSettings,
    micrographs: Sequence[MicrographFile],
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    cancel: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
    said: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Pick every micrograph into `folder` and return what run.json says.

    Parameters
    ----------
    settings : PickSettings
    micrographs : sequence of MicrographFile
    folder : Path
        See the contract of `gempick pick` for its files.
    overwrite, resume : bool
        Replace earlier results, or keep those of micrographs that are done.
    cancel, progress
        See run.pipeline.search_all.
    said : callable
        Receives sentences for the user: notes, and micrographs that failed.

    Raises
    ------
    GempickError
        Nothing can be done: settings, templates, output folder, devices.
    """
    formats_of(settings)
    makers = BankMaker(settings, read_views(settings))
    settings.threshold_of(makers.index.view_names)
    results = Results(folder, settings, makers)
    earlier = results.prepare(overwrite=overwrite, resume=resume)
    plans = PlanStore()
    pool = DevicePool(open_devices(settings.devices, settings.threads, plans))
    report = Report()
    extra = {
        "devices": [device.describe() for device in pool.devices],
        "plan": plans.record,
        "python": platform.python_version(),
    }
    results.write_run(report, {**extra, "state": "running"})
    known = {row["name"]: row for row in (earlier or {}).get("micrographs", []) if "error" not in row}
    todo = [m for m in micrographs if not (earlier and _is_done(results, m))]
    done = [m for m in micrographs if m not in todo]
    report.micrographs += [known.get(m.output_stem) or _row_from_files(results, m) for m in done]
    state = "stopped"
    try:
        loaders = [functools.partial(loader, m.path, settings, makers) for m in todo]
        for outcome in search_all(
            loaders,
            makers,
            pool,
            tile_shape=plans.tile_shape,
            per_view=settings.per_view_maps,
            cancel=cancel,
            progress=progress,
        ):
            micrograph = todo[outcome.number]
            row: dict[str, Any] = {"name": micrograph.output_stem, "path": str(micrograph.path)}
            try:
                if outcome.error is not None:
                    raise outcome.error
                row |= results.write(micrograph, outcome)
            except OutputError:
                raise
            except GempickError as error:
                row["error"] = error.sentence if micrograph.path.name in error.sentence else f"{micrograph.path}: {error.sentence}"
                said(row["error"])
            if outcome.notes:
                row["notes"] = list(outcome.notes)
                for note in outcome.notes:
                    said(note if micrograph.path.name in note else f"{micrograph.path.name}: {note}")
            report.micrographs.append(row)
        state = "complete"
    finally:
        extra |= {"state": state, "plan": plans.record, "failed_devices": dict(pool.failed)}
        results.write_index(micrographs)
        results.write_run(report, extra)
    for name, reason in pool.failed.items():
        said(f"Device {name} failed and its work went to the others: {reason}")
    return read_run(folder)


def _is_done(results: Results, micrograph: MicrographFile) -> bool:
    return results.coordinates(micrograph).exists() and results.candidates(micrograph).exists()


def _row_from_files(results: Results, micrograph: MicrographFile) -> dict[str, Any]:
    """Return the run.json line of a micrograph that an interrupted run finished."""
    stored = read_candidates(results.candidates(micrograph))
    from napari_gempick.io.coordinates import read_coordinates

    picks = read_coordinates(results.coordinates(micrograph)).picks
    section_view = results._makers.index.view(picks.section * results._makers.index.n_rotations)
    names = stored.view_names
    return {
        "name": micrograph.output_stem,
        "path": str(micrograph.path),
        "picks": len(picks),
        "picks_per_view": {name: int((section_view == i).sum()) for i, name in enumerate(names)},
        "best_score": float(stored.picks.score[0]) if len(stored.picks) else None,
        "candidates": len(stored.picks),
        "shape": list(stored.file_shape),
        "pixel_size": stored.pixel_size,
        "map_pixel_size": stored.map_pixel_size,
    }
