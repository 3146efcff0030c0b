"""Reads what the window shows of one micrograph; runs on a background thread and touches no layer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.cores import usable_memory
from napari_gempick.inputs.preparation import find_missing, read_exclusion
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.images.micrograph import open_image, read_micrograph
from napari_gempick.model.errors import GempickError, InputError
from napari_gempick.model.settings import LEARNED
from napari_gempick.widgets.state.candidate_selection import CandidateSelection
from napari_gempick.widgets.state.look import contrast_limits, extremes
from napari_gempick.widgets.state.masks import MaskFiles
from napari_gempick.widgets.state.state import SELECTION_SETTINGS, Edits
from napari_gempick.widgets.state.teaching import Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.score_maps import BankIndex
    from napari_gempick.results.learned_score import LearnedScore
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.state import State

KEPT_BYTES = max(2**30, usable_memory() // 4)
"""Candidates stay in memory up to this many bytes, a quarter of the computer's, those that were used last."""

DRAWN = (np.uint8, np.uint16, np.float32)
"""Types that napari draws as they are; it converts others anew each time, a quarter of a second for 4096² pixels."""


@dataclass(frozen=True, eq=False)
class MapPair:
    """Score and index map on one grid, as they are displayed.

    Attributes
    ----------
    score : (my, mx) float32
        NaN where nothing was scored.
    labels : (my, mx) unsigned int
        k + 1; 0 where nothing was scored.
    ratio : float
        Map pixel over file pixel.
    """

    score: NDArray[np.float32]
    labels: NDArray[Any]
    ratio: float


@dataclass(frozen=True, eq=False)
class Loaded:
    """One micrograph with everything that is known about it.

    Attributes
    ----------
    image : (ny, nx) uint8, uint16 or float32, optional
        None where the file cannot be used; `error` is the reason.
    pixel_size : float or None
        Å.
    contrast, extremes : (low, high)
        What is shown from black to white, and all that there is.
    selection : CandidateSelection, optional
        None before a search.
    maps : dict of str to MapPair
        "" for all views together, and the view whose own maps are shown.
    map_views : tuple of str
        Views whose own maps were kept.
    error, notes : str
        Sentences.
    preview : bool
        The candidates are those of a quick look, of which nothing is kept.
    file : (path, time, bytes), optional
        Of the file as it was read.
    """

    stem: str
    image: NDArray[Any] | None = None
    pixel_size: float | None = None
    pixel_size_source: str = ""
    contrast: tuple[float, float] = (0.0, 1.0)
    extremes: tuple[float, float] = (0.0, 1.0)
    selection: CandidateSelection | None = None
    bank: BankIndex | None = None
    maps: Mapping[str, MapPair] = field(default_factory=dict)
    map_views: tuple[str, ...] = ()
    error: str = ""
    notes: tuple[str, ...] = ()
    preview: bool = False
    file: tuple[str, int, int] | None = None


@dataclass(eq=False)
class _Kept:
    """Candidates in memory, what they were read for, and the same with a learned score."""

    result: Result
    key: tuple[Any, ...]
    selection: CandidateSelection
    scored: tuple[LearnedScore, CandidateSelection] | None = None


class CandidateCache:
    """Candidates of the micrographs that were used last, kept in memory; used on several threads.

    Parameters
    ----------
    masks : MaskFiles, optional
        Writes masks that were edited before they are used.
    """

    def __init__(self, masks: MaskFiles | None = None) -> None:
        self.teacher = Teacher()
        self._masks = masks or MaskFiles()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __contains__(self, stem: str) -> bool:
        """Whether candidates of a micrograph are in memory."""
        return stem in self._kept

    def get(
        self, file: MicrographFile, state: State, folder: Path, results: Mapping[str, Result]
    ) -> CandidateSelection | None:
        """Return a micrograph's candidates, with the score that chooses; None where the search failed.

        Raises
        ------
        InputError
            They cannot be read, or the exclusion mask cannot.
        SettingsError
            The score is learned, and a search has kept no decoys.
        """
        result = results[file.output_stem]
        if result.error:
            return None
        settings = state.settings()
        kept = self._get(file, state, folder, result)
        if settings.score != LEARNED:
            return kept.selection
        learned = self.teacher.teach(
            state,
            folder,
            results,
            lambda one: self._get(one, state, folder, results[one.output_stem]).selection.candidates,
        )
        scored = kept.scored
        if scored is None or scored[0] is not learned:
            candidates = learned.apply(file, kept.selection.candidates, result.diameter)
            scored = kept.scored = learned, kept.selection.with_candidates(candidates)
        return scored[1]

    def ready(
        self, file: MicrographFile, state: State, folder: Path, results: Mapping[str, Result]
    ) -> CandidateSelection | None:
        """Return a micrograph's candidates as `get` does, with what its first choice needs worked out already."""
        selection = self.get(file, state, folder, results)
        if selection is not None:
            selection.choose(state.tune_of(file.output_stem), state.edits.get(file.output_stem, Edits()))
        return selection

    def _get(self, file: MicrographFile, state: State, folder: Path, result: Result) -> _Kept:
        stem, settings = file.output_stem, state.settings()
        mask = state.masks.get(stem)
        key = str(folder), mask, *(getattr(settings, name) for name in SELECTION_SETTINGS)
        self._masks.write(stem)
        with self._lock:
            known = self._kept.get(stem)
            if known is not None and known.result is result and known.key == key:
                self._kept.move_to_end(stem)
                return known
        if known is not None and known.result is result and known.key[0] == key[0]:
            candidates = known.selection.candidates
        else:
            candidates = read_candidates(folder / "candidates" / f"{stem}.star")
        if mask is None:
            find_missing(settings, folder, file, result.diameter)
            excluded = read_exclusion(settings, folder, file, candidates.file_shape)
        else:
            excluded = mask.array()
        border = (settings.diameter or 0.0) / 2
        selection = CandidateSelection(candidates, result.diameter, border=border, excluded=excluded)
        if not self._masks.is_current(stem, mask):
            return _Kept(result, key, selection)  # for work that began before the last stroke; the file is newer
        with self._lock:
            earlier = self._kept.pop(stem, None)
            self._bytes += selection.nbytes - (0 if earlier is None else earlier.selection.nbytes)
            made = self._kept[stem] = _Kept(result, key, selection)
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].selection.nbytes
        return made


def load(
    file: MicrographFile,
    state: State,
    folder: Path | None,
    results: Mapping[str, Result],
    selections: CandidateCache,
    known: Sequence[Loaded | None] = (),
) -> Loaded:
    """Read a micrograph, and its candidates where there are any; an unusable file is a sentence.

    The image is the array of that one of `known` which was read from the same file.
    """
    stem = file.output_stem
    result = results.get(stem)
    try:
        read = _identity(file.path)
        micrograph = read_micrograph(file.path, state.settings().pixel_size, listed=file.pixel_size)
    except GempickError as error:
        return Loaded(stem, error=error.sentence)
    same = next((one for one in known if one is not None and read is not None and one.file == read), None)
    if same is not None and same.image is not None:
        image, contrast, all_of_it = same.image, same.contrast, same.extremes
    else:
        image = _drawn(micrograph.data)
        contrast, all_of_it = contrast_limits(image), extremes(image)
    selection, error = None, "" if result is None else result.error
    if result is not None and folder is not None:
        try:
            selection = selections.ready(file, state, folder, results)
        except GempickError as problem:
            error = problem.sentence
    return Loaded(
        stem,
        image,
        micrograph.pixel_size,
        micrograph.pixel_size_source,
        contrast,
        all_of_it,
        selection,
        None if selection is None or result is None else result.bank,
        error=error,
        notes=micrograph.warnings,
        file=read,
    )


def _identity(path: Path) -> tuple[str, int, int] | None:
    """Return what tells whether a file is still the same; None where that is unknown."""
    try:
        found = path.stat()
    except OSError:
        return None
    return str(path), found.st_mtime_ns, found.st_size


def _drawn(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image in a type that napari draws as it is."""
    native = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    return native if native.dtype in DRAWN else native.astype(np.float32)


def load_maps(
    loaded: Loaded, folder: Path | None, result: Result | None, view: str = ""
) -> tuple[dict[str, MapPair], tuple[str, ...]]:
    """Read the maps of a micrograph that were kept: "" for all views together, and those of a view.

    Returns also the views that have maps of their own.

    Raises
    ------
    InputError
        They are not those of its search.
    """
    selection = loaded.selection
    if result is None or folder is None or not result.maps or selection is None:
        return {}, ()

    def paths_of(view: str) -> list[Path]:
        name = folder / "maps" / (f"{loaded.stem}_{view}" if view else loaded.stem)
        return [name.with_name(f"{name.name}_{kind}.mrc") for kind in ("ncc", "index")]

    names = selection.candidates.view_names
    kept = {name for name in ("", *names) if all(path.exists() for path in paths_of(name))}
    found = {}
    for name in kept & {"", view}:
        paths = paths_of(name)
        score, index = (open_image(path, single=True).data[0] for path in paths)
        if score.shape != selection.candidates.map_shape or index.shape != score.shape:
            raise InputError(f"{paths[0]} has another size than the search; run this micrograph again.", paths[0])
        ratio = selection.candidates.map_pixel_size / selection.candidates.pixel_size
        n = 0 if result.bank is None else len(result.bank)
        kind = np.uint8 if n < 255 else np.uint16 if n < 65535 else np.int32
        labels = (index + 1).astype(kind)
        shown = np.where(labels == 0, np.float32(np.nan), score).astype(np.float32)
        found[name] = MapPair(shown, labels, ratio)
    return found, tuple(name for name in names if name in kept)
