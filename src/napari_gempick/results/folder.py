"""The output folder of a run: coordinates, candidates, maps, index and run.json."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick import __version__
from napari_gempick.engine.picking.peaks import Selection, find_peaks, select
from napari_gempick.inputs.preparation import edited_remarks, found_mask, read_exclusion
from napari_gempick.io.atomic import write_text
from napari_gempick.io.candidates import Candidates, read_candidates, write_candidates
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.relion import write_autopick_index
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.images.row_order import from_bottom
from napari_gempick.io.micrograph_names import Known, shown
from napari_gempick.model.declaration import names_with
from napari_gempick.model.errors import GempickError, OutputError, ProofError, SettingsError
from napari_gempick.model.geometry import box_over_diameter
from napari_gempick.model.settings import PickSettings
from napari_gempick.model.values import AUTO, LEARNED
from napari_gempick.results.run_file import (
    FROM_BOTTOM,
    RUN_FILE,
    describe,
    describe_thresholds,
    formats_of,
    micrograph_of,
    read_run,
    table_of,
)
from napari_gempick.results.thresholds import (
    NO_DECOYS,
    candidate_floor,
    contrast_remarks,
    decide,
    is_automatic,
    nothing_found,
    probability_false,
    scores_of,
    selection_for,
    without_thresholds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.engine.matching.pose import PoseRefiner
    from napari_gempick.engine.picking.false_rate import FalseRate
    from napari_gempick.engine.picking.run_evidence import Scores
    from napari_gempick.io.formats.base import ProvenFiles
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.score_maps import ScoreMap

NOT_REPRODUCING = names_with(PickSettings, role=("format", "files", "run"))
"""Settings that do not change which picks come out."""
POOLED, CHOSEN = "pooled", ("threshold", "fdr")
"""In run.json after `--pool`: the settings, of those named, that chose the numbers which stand in their place."""
INDEX_FILE = "autopick.star"
FRAME = "x and y count pixels from 0; row 0 is the first row of the micrograph's file, unless y_from_last_row says so"


class Results:
    """The output folder of a run.

    Parameters
    ----------
    diameter : float
        The particle's, Å.
    growing : bool
        The STAR file with the CTFs is not read here; set `table` when it has been.
    """

    def __init__(self, folder: Path, settings: PickSettings, diameter: float, *, growing: bool = False) -> None:
        self.folder, self._settings, self.diameter = folder, settings, diameter
        self._scores: dict[str, Scores] = {}
        self.learned: dict[str, Any] | None = None
        self.table = None if growing else table_of(settings)

    def _path(self, micrograph: MicrographFile, suffix: str, below: str = "") -> Path:
        return self.folder / below / f"{micrograph.output_stem}{suffix}"

    def _of_format(self, micrograph: MicrographFile, name: str) -> Path:
        return self.folder / FORMATS[name].file_of(micrograph.output_stem, shown(micrograph.path))

    def coordinates(self, micrograph: MicrographFile) -> Path:
        """Return the path of a micrograph's STAR file."""
        return self._path(micrograph, FORMATS["star"].suffix)

    def candidates(self, micrograph: MicrographFile) -> Path:
        """Return the path of a micrograph's candidates."""
        return self._path(micrograph, ".star", "candidates")

    def is_done(self, micrograph: MicrographFile, view_names: tuple[str, ...] | None = None) -> bool:
        """Return whether a micrograph's results are there and not older than it; without `view_names`, readable too."""
        wanted = [self.coordinates(micrograph), self.candidates(micrograph)]
        if not all(path.exists() for path in wanted):
            return False
        try:
            names = view_names or read_candidates(self.candidates(micrograph)).view_names
            changed = micrograph.path.stat().st_mtime_ns
        except (GempickError, OSError):
            return False
        wanted += self.maps(micrograph, names)
        return all(path.exists() and path.stat().st_mtime_ns >= changed for path in wanted)

    def maps(self, micrograph: MicrographFile, view_names: tuple[str, ...]) -> list[Path]:
        """Return the paths of the maps that are saved for a micrograph."""
        settings = self._settings
        if not (settings.save_maps or settings.per_view_maps):
            return []
        views = view_names if settings.per_view_maps and len(view_names) > 1 else ()
        paths = self._map_paths(micrograph, "")
        paths += self._map_paths(micrograph, "", ("min", "minindex")) if settings.decoys else []
        return paths + [path for view in views for path in self._map_paths(micrograph, f"_{view}")]

    def texts(self, micrograph: MicrographFile) -> list[Path]:
        """Return the paths of a micrograph's coordinates, in every format, and candidates."""
        paths = [self._of_format(micrograph, name) for name in formats_of(self._settings)]
        return [*paths, self.candidates(micrograph)]

    def everything(self, micrograph: MicrographFile, view_names: tuple[str, ...]) -> list[Path]:
        """Return the paths of all that a run with these settings writes for a micrograph."""
        paths = [*self.texts(micrograph), *self.maps(micrograph, view_names)]
        return [*paths, found_mask(self.folder, micrograph)] if self._settings.exclude == AUTO else paths

    def missing(self, rows: Sequence[dict[str, Any]]) -> list[Path]:
        """Return the files of micrographs that were written, by their lines of run.json, but are not there."""
        done = [micrograph_of(row) for row in rows if "error" not in row]
        return [path for one in done for path in (self.coordinates(one), self.candidates(one)) if not path.exists()]

    def prepare(self, views: list[dict[str, Any]], *, overwrite: bool, resume: bool) -> dict[str, Any] | None:
        """Check the folder; return the earlier run.json when resuming with the same settings and `views`.

        Raises
        ------
        SettingsError
            It holds results and neither flag is given, or the earlier run had other settings.
        """
        run_file = self.folder / RUN_FILE
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file; give -o a folder.", self.folder)
        present = [name for name in (RUN_FILE, INDEX_FILE, "candidates") if (self.folder / name).exists()]
        if not present or overwrite or (not resume and self._nothing_came_out()):
            return None
        if not resume:
            raise SettingsError(
                f"{self.folder} already holds results ({', '.join(present)}); use --resume to continue, --overwrite to "
                "replace them, or another folder.",
                self.folder,
            )
        if not run_file.exists():
            raise SettingsError(f"{run_file} is missing, so nothing can be resumed; use --overwrite.", run_file)
        earlier = read_run(self.folder)
        mine = json.loads(self._settings.model_dump_json())
        before = {**earlier.get("settings", {}), **earlier.get(POOLED, {})}
        changed = [name for name, value in mine.items() if name not in NOT_REPRODUCING and before.get(name) != value]
        if changed or earlier.get("views") != views:
            what = ", ".join("--" + name.replace("_", "-") for name in changed) or "the templates"
            raise SettingsError(
                f"{self.folder} was made with other settings ({what}); use --overwrite or another folder."
            )
        return earlier

    def _nothing_came_out(self) -> bool:
        """Return whether an earlier run failed on every micrograph, so that there is nothing to lose."""
        if (self.folder / "candidates").exists() or not (self.folder / RUN_FILE).exists():
            return False
        try:
            rows = read_run(self.folder).get("micrographs", [])
        except GempickError:
            return False
        return all("error" in row for row in rows)

    def write(
        self,
        micrograph: MicrographFile,
        scores: ScoreMap,
        per_view: Sequence[ScoreMap] = (),
        inverted: ScoreMap | None = None,
        proof: ProvenFiles | None = None,
        image: NDArray[np.float32] | None = None,
        refine: PoseRefiner | None = None,
    ) -> dict[str, Any]:
        """Write one micrograph's results; return its line in run.json. The STAR file comes last: it marks the end.

        `image` and `refine` as engine.picking.peaks.find_peaks.
        """
        settings, grid, names = self._settings, scores.grid, scores.bank.view_names
        floor = candidate_floor(settings, names)
        shape = (int(scores.score.shape[0]), int(scores.score.shape[1]))
        size = self.diameter / grid.map_pixel_size
        usual = settings.candidate_floor
        found, decoys = find_peaks(scores, inverted, floor, image=image, size=size, refine=refine, usual_floor=usual)
        candidates = Candidates(
            found, names, grid.file_shape, shape, grid.pixel_size, grid.map_pixel_size, floor, decoys
        )
        if settings.save_maps or settings.per_view_maps:
            self._write_maps(micrograph, "", scores)
            if inverted is not None:
                lowest = replace(inverted, score=-inverted.score)  # 1 where nothing was scored
                self._write_maps(micrograph, "", lowest, kinds=("min", "minindex"))
            for view, maps in enumerate(per_view):
                self._write_maps(micrograph, f"_{names[view]}", maps)
        write_candidates(self.candidates(micrograph), candidates)
        return self.write_picks(micrograph, candidates, proof)

    def write_picks(
        self,
        micrograph: MicrographFile,
        candidates: Candidates,
        proof: ProvenFiles | None = None,
        rates: Sequence[FalseRate] | None = None,
        leave: Collection[str] = (),
        scores: Scores | None = None,
    ) -> dict[str, Any]:
        """Choose picks among a micrograph's candidates and write them, the STAR file last; return the run.json line.

        With a `proof`, a file gets its name only when it does not prove wrong; `wrong` in the line names such formats.
        Automatic thresholds follow from `rates`, those of the whole run; before these are known, from this micrograph.
        Formats in `leave` are not written. Where `scores` are known already, candidates need no decoys.

        Raises
        ------
        ProofError
            The STAR file does not point at the particles.
        SettingsError
            A threshold lies below the floor of the candidates.
        InputError
            The exclusion mask cannot be used.
        """
        names, settings, shape = candidates.view_names, self._settings, candidates.file_shape
        self.check_floor(micrograph, candidates)
        excluded = read_exclusion(settings, self.folder, micrograph, shape)
        scores = self.scores(candidates, excluded) if scores is None else scores
        waiting = rates is None and (settings.score == LEARNED or is_automatic(settings, names))  # for the others
        if scores is not None:
            rates = rates or scores.rates()
            if settings.score != LEARNED and is_automatic(settings, names):
                self._scores[micrograph.output_stem] = scores
        by_ncc = None if scores is None else scores.ncc or scores
        thresholds = decide(settings, names, rates)
        picks = select(candidates.picks, replace(self._selection(candidates), thresholds=thresholds), shape, excluded)
        if picks.ncc is not None and rates is not None:
            picks = replace(picks, false=probability_false(picks, rates))
        box_size = self.box_size(candidates.pixel_size)
        info = PicksInfo(candidates.pixel_size, box_size, names, shown(micrograph.path), shape)
        if self.table is not None:
            ctf, optics = self.table.find(Known(info.micrograph, "", micrograph.path).parts) or ({}, {})
            info = replace(info, ctf=ctf, optics=optics)
        wrong: dict[str, str] = {}
        for name in sorted(set(formats_of(self._settings)) - set(leave), key=lambda name: (name == "star", name)):
            path = self._of_format(micrograph, name)
            if proof is None:
                FORMATS[name].write(path, picks, info)
                continue
            try:
                proof.write(name, path, picks, info)
            except ProofError as error:
                if name == "star":
                    raise
                wrong[name] = error.sentence
        proven: dict[str, Any] = {}
        if proof is not None:
            proven["proof"] = {name: made.sentence for name, made in proof.proofs.items()}
        if wrong:
            proven["wrong"] = list(wrong)
        remarks = [*edited_remarks(settings, self.folder, micrograph), *contrast_remarks(settings, by_ncc)]
        remarks[:0] = [] if waiting else nothing_found(names, thresholds)
        turned_over = self.from_bottom(micrograph)
        return {
            "name": micrograph.output_stem,
            "path": str(micrograph.path),
            **({FROM_BOTTOM: turned_over} if turned_over else {}),
            **describe(picks, candidates),
            **describe_thresholds(names, thresholds, rates),
            "remarks": [*wrong.values(), *(f"{micrograph.path}: {text}" for text in remarks)],
            **proven,
        }

    def evidence(self, micrograph: MicrographFile, candidates_of: Callable[[MicrographFile], Candidates]) -> Scores:
        """Return the scores that a micrograph's thresholds are chosen from; `candidates_of` reads its candidates.

        Raises
        ------
        SettingsError
            The candidates have no decoys.
        """
        known = None if self._settings.score == LEARNED else self._scores.get(micrograph.output_stem)
        if known is None:
            candidates = candidates_of(micrograph)
            excluded = read_exclusion(self._settings, self.folder, micrograph, candidates.file_shape)
            known = self.scores(candidates, excluded)
        if known is None:
            raise SettingsError(NO_DECOYS)
        return known

    def from_bottom(self, micrograph: MicrographFile) -> list[str]:
        """Return the formats whose files count y from the last row of this micrograph (io.images.row_order)."""
        return [name for name in formats_of(self._settings) if from_bottom(name, micrograph.path)]

    def check_floor(self, micrograph: MicrographFile, candidates: Candidates) -> None:
        """Raise SettingsError when a threshold lies below the floor of a micrograph's candidates."""
        if self._settings.score == LEARNED:
            return
        wanted = candidate_floor(self._settings, candidates.view_names)
        lowest = min(t for t in (1.0, *self._settings.thresholds.of(candidates.view_names)) if t is not None)
        if wanted < candidates.floor and lowest < candidates.floor:
            raise SettingsError(
                f"{self.candidates(micrograph)} holds candidates down to {candidates.floor:g} only; give a higher "
                f"threshold, or pick again with --candidate-floor {lowest:g}.",
                self.candidates(micrograph),
            )

    def _selection(self, candidates: Candidates) -> Selection:
        return selection_for(
            self._settings, candidates.view_names, self.diameter, candidates.pixel_size, candidates.map_pixel_size
        )

    def distance(self, candidates: Candidates) -> float:
        """Return the smallest distance between picks, file pixels."""
        return self._selection(candidates).min_distance * candidates.map_pixel_size / candidates.pixel_size

    def free_of_thresholds(
        self, micrograph: MicrographFile, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the numbers of the candidates and of the decoys that would be picked without a threshold."""
        assert candidates.decoys is not None
        shape = candidates.file_shape
        excluded = read_exclusion(self._settings, self.folder, micrograph, shape)
        everything = without_thresholds(self._selection(candidates), candidates.floor)
        kinds = (replace(one, k=np.arange(len(one), dtype=np.int32)) for one in (candidates.picks, candidates.decoys))
        chosen, decoys = (select(one, everything, shape, excluded).k for one in kinds)
        return chosen, decoys

    def scores(self, candidates: Candidates, excluded: NDArray[np.bool_] | None) -> Scores | None:
        """Return the scores that thresholds are chosen from; None without decoys."""
        if candidates.decoys is None:
            return None
        selection, shape = self._selection(candidates), candidates.file_shape
        floor = -1.0 if candidates.picks.ncc is not None else candidates.floor
        return scores_of(candidates.picks, candidates.decoys, selection, floor, shape, excluded)

    def box_size(self, pixel_size: float) -> int:
        """Return the box size in pixels of the micrograph."""
        return box_over_diameter(self.diameter, pixel_size)

    def _write_maps(
        self, micrograph: MicrographFile, which: str, maps: ScoreMap, kinds: tuple[str, str] = ("ncc", "index")
    ) -> None:
        pixel_size = maps.grid.map_pixel_size
        score, index = self._map_paths(micrograph, which, kinds)
        bound = f"exact within {maps.bound:.6f}, and at candidates and beside them" if maps.bound else ""
        write_mrc(score, maps.score, pixel_size, note=bound)
        write_mrc(index, maps.index.astype(np.float32), pixel_size, note=bound and "exact at candidates")

    def _map_paths(
        self, micrograph: MicrographFile, which: str, kinds: tuple[str, str] = ("ncc", "index")
    ) -> list[Path]:
        """Return the paths of the score and index maps of all views, or of the view that `which` names."""
        return [self._path(micrograph, f"{which}_{kind}.mrc", "maps") for kind in kinds]

    def write_index(self, micrographs: Sequence[MicrographFile]) -> None:
        """Write the list of all coordinate files that are there, sorted by name."""
        ordered = sorted(micrographs, key=lambda item: item.output_stem)
        there = [m for m in ordered if os.path.exists(self.coordinates(m))]  # False where a name is too long
        rows = [(shown(m.path), shown(self.coordinates(m))) for m in there]
        write_autopick_index(self.folder / INDEX_FILE, rows)

    def write_run(self, extra: dict[str, Any]) -> dict[str, Any]:
        """Write run.json: version and settings, then `extra`; return its content."""
        run = {
            "program": f"napari-gempick {__version__}",
            "settings": json.loads(self._settings.model_dump_json()),
            "diameter": self.diameter,
            "frame": FRAME,
            **extra,
            **({} if self.learned is None else {"learned": self.learned}),
        }
        write_text(self.folder / RUN_FILE, json.dumps(run, indent=1, ensure_ascii=False) + "\n")
        return run
