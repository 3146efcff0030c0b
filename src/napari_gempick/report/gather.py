"""Gather what the report of a run shows: numbers from run.json and candidates, pictures from the micrographs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.evaluation.plots import overlay
from napari_gempick.extraction.cut import sample_turned, shrunk
from napari_gempick.inputs.views import read_views
from napari_gempick.io.atomic import refuse_existing
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.model.declaration import declarations
from napari_gempick.model.errors import GempickError, InputError, SettingsError
from napari_gempick.model.geometry import BOX_OVER_DIAMETER, Extent
from napari_gempick.model.settings import PickSettings
from napari_gempick.report.html import RunReport, ViewReport, plot_sheet, write_html
from napari_gempick.results.run_file import RUN_FILE, read_run, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.model.picks import Picks

HTML, SHEET = "report.html", "particle_sheet.png"
_MICROGRAPHS = 24
"""Micrographs that pictures are cut from, spread evenly."""
_AVERAGED = 400
_SIDE = 96
"""Pixels along a picture of a particle, about."""
_BINS = np.round(np.arange(-0.2, 1.0001, 0.02), 6)
_SMOOTH = 1.0  # px of the pictures


def report(
    folder: Path,
    output: Path | None = None,
    *,
    particles: int = 24,
    overwrite: bool = False,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, Any]:
    """Write the particle sheet (PNG) and the report (HTML) of a folder of results; return what was written.

    Parameters
    ----------
    folder : Path
        Output of `pick_files`.
    output : Path, optional
        Where to write; by default into `folder`.
    particles : int
        Pictures for each view.
    overwrite : bool
        Replace an earlier report.

    Raises
    ------
    SettingsError
        The folder holds no results.
    OutputError
        A report is there already, or cannot be written.
    """
    places = [(output or folder) / name for name in (HTML, SHEET)]
    refuse_existing(places, overwrite, "another folder with -o")
    made = gather(folder, particles=particles, progress=progress)
    plot_sheet(places[1], made)
    write_html(places[0], made)
    return {
        "report": str(places[0]),
        "sheet": str(places[1]),
        "micrographs": len(made.done),
        "picks": made.picks,
        "notes": made.notes,
    }


def gather(
    folder: Path, *, particles: int = 24, progress: Callable[[float, str], None] = lambda share, text: None
) -> RunReport:
    """Return what there is to show about a folder of results; errors as `report`."""
    run = read_run(folder)
    settings = settings_of(folder, run)
    names = [view["name"] for view in run["views"]]
    rows = [row for row in run["micrographs"] if "error" not in row]
    for row in rows:
        if not {"pixel_size", "picks", "shape"} <= row.keys():
            raise SettingsError(
                f"{folder / RUN_FILE} does not say enough about {row['name']}; run again with --overwrite.", folder
            )
    found, histograms = _read(folder, rows, len(names), lambda share: progress(0.5 * share, "Reading picks"))
    pictures = _Pictures(settings, len(names), float(run["diameter"]))
    notes: list[str] = []
    shown = _spread([n for n in range(len(rows)) if len(found[n])], _MICROGRAPHS)
    for place, number in enumerate(shown):
        try:
            pictures.add(rows[number], found[number], len(shown))
        except GempickError as error:
            notes.append(error.sentence)
        progress(0.5 + 0.5 * (place + 1) / len(shown), "Cutting particles")
    templates = pictures.templates(notes)
    thresholds = settings.thresholds.of(tuple(names))
    used = np.nonzero(histograms.sum(axis=(0, 1)))[0]
    first, last = (int(used[0]) // 5 * 5, -(-(int(used[-1]) + 1) // 5) * 5) if len(used) else (10, len(_BINS) - 1)
    kept = slice(first, last)
    views = [
        ViewReport(
            name=name,
            picks=sum(int((picks.view == number).sum()) for picks in found),
            threshold=_median(rows, "thresholds", name, thresholds[number]),
            false_rate=_median(rows, "estimated_fdr", name, None),
            sections=run["views"][number]["sections"],
            mask=run["views"][number].get("mask", ""),
            template=templates.get(name),
            mean=pictures.mean(number),
            averaged=pictures.counts[number],
            **pictures.chosen(number, particles),
            candidates=histograms[0][number, kept],
            chosen=histograms[1][number, kept],
        )
        for number, name in enumerate(names)
    ]
    picture, name = _overlay(rows, found, names, float(run["diameter"]))
    return RunReport(
        name=folder.resolve().name,
        program=run.get("program", ""),
        state=run.get("state", ""),
        views=views,
        edges=_BINS[first : last + 1],
        micrographs=run["micrographs"],
        settings=_settings(settings),
        facts=_facts(run),
        box=BOX_OVER_DIAMETER * float(run["diameter"]),
        diameter=float(run["diameter"]),
        overlay=picture,
        overlay_name=name,
        notes=notes,
    )


def _read(
    folder: Path, rows: Sequence[dict[str, Any]], n_views: int, progress: Callable[[float], None]
) -> tuple[list[Picks], NDArray[np.int64]]:
    """Return the picks of each micrograph, and histograms of candidates and picks, (2, views, bins)."""
    found: list[Picks] = []
    histograms = np.zeros((2, n_views, len(_BINS) - 1), np.int64)
    for number, row in enumerate(rows):
        try:
            stored = read_candidates(folder / "candidates" / f"{row['name']}.star", decoys=False).picks
            picks = read_coordinates(folder / f"{row['name']}_autopick.star").picks
        except InputError as error:
            raise InputError(f"{folder / RUN_FILE} lists {row['name']}, but {error.sentence}", error.path) from error
        view_of = dict(zip(stored.section.tolist(), stored.view.tolist(), strict=True))
        views = np.array([view_of.get(section, 0) for section in picks.section.tolist()], np.int32)
        found.append(replace(picks, view=views))
        for histogram, some in zip(histograms, (stored, found[-1]), strict=True):
            for view in range(n_views):
                scores = np.clip(some.score[some.view == view], _BINS[0], _BINS[-1])
                histogram[view] += np.histogram(scores, _BINS)[0]
        progress((number + 1) / len(rows))
    return found, histograms


def _median(rows: Sequence[dict[str, Any]], key: str, view: str, otherwise: float | None) -> float | None:
    """Return the median of a view's values in the lines of run.json, or the given one if there are none."""
    known = [row[key][view] for row in rows if row.get(key, {}).get(view) is not None]
    return float(np.median(known)) if known else otherwise


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    places = np.unique(np.linspace(0, max(0, len(numbers) - 1), most).astype(int)).tolist()
    return [numbers[place] for place in places if numbers]


class _Pictures:
    """Cuts particles from some micrographs: pictures as they lie, and sums of them turned back by psi."""

    def __init__(self, settings: PickSettings, n_views: int, diameter: float) -> None:
        self._settings, self._side = settings, 0
        self._box = BOX_OVER_DIAMETER * diameter
        self._spacing = 0.0
        self._sums: list[Any] = [0.0] * n_views
        self.counts = [0] * n_views
        self._seen: list[list[tuple[float, Any]]] = [[] for _ in range(n_views)]

    def add(self, row: dict[str, Any], picks: Picks, of: int) -> None:
        """Cut the particles of a micrograph, which is one of so many."""
        path, pixel_size = Path(row["path"]), float(row["pixel_size"])
        image = read_micrograph(path, pixel_size).data
        factor = max(1, int(self._box / pixel_size / _SIDE))
        small = shrunk(image, factor)
        if not self._side:
            self._side = 2 * (int(self._box / (factor * pixel_size)) // 2)
            self._spacing = self._box / self._side
        step = self._spacing / (factor * pixel_size)
        steps = (np.mgrid[: self._side, : self._side].reshape(2, -1) - self._side // 2) * step
        for view in range(len(self.counts)):
            these = picks.take(np.nonzero(picks.view == view)[0][: max(1, _AVERAGED // of)])
            if not len(these):
                continue
            psi = np.nan_to_num(these.psi)
            for turned, target in ((psi, None), (np.zeros(len(these)), self._seen[view])):
                boxes = sample_turned(small, factor, these.x, these.y, turned, steps)
                boxes = boxes.reshape(-1, self._side, self._side)
                if target is None:
                    boxes -= boxes.mean(axis=(1, 2), keepdims=True)
                    spread = boxes.std(axis=(1, 2), keepdims=True)
                    self._sums[view] = self._sums[view] + (boxes / np.where(spread > 0, spread, 1)).sum(axis=0)
                    self.counts[view] += len(these)
                else:
                    smooth = gaussian_filter(boxes, (0, _SMOOTH, _SMOOTH)).astype(np.float32)
                    target += zip(these.score.tolist(), smooth, strict=True)

    def mean(self, view: int) -> NDArray[Any] | None:
        """Return the mean image of a view, None without particles."""
        return self._sums[view] / self.counts[view] if self.counts[view] else None

    def chosen(self, view: int, count: int) -> dict[str, Any]:
        """Return pictures from the best to the worst score, evenly."""
        ordered = sorted(self._seen[view], key=lambda pair: -pair[0])
        kept = [ordered[place] for place in _spread(range(len(ordered)), count)]
        return {"particles": [picture for _, picture in kept], "scores": [score for score, _ in kept]}

    def templates(self, notes: list[str]) -> dict[str, NDArray[Any]]:
        """Return the first template of each view on the pictures' grid, with the micrographs' contrast."""
        if not self._side:
            return {}
        try:
            views = read_views(self._settings)
        except GempickError as error:
            notes.append(error.sentence)
            return {}
        half = self._side // 2
        extent = Extent(half, half, half - 1, half - 1)
        dark = self._settings.ctf is not None and self._settings.phase_flipped != "bright"
        sign = -1 if dark or self._settings.contrast == "opposite" else 1
        out = {}
        for view in views:
            image, spacing = view.templates[0], view.pixel_size
            sampled = ContinuousImage(image, spacing, finest=self._spacing).sample(0, self._spacing, extent)
            steps = np.abs(np.arange(self._side) - half) * self._spacing
            inside = np.ix_(*(steps <= (n // 2 - 1) * spacing for n in image.shape))
            rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
            shown = np.full(sampled.shape, rim.mean(), np.float32)
            shown[inside] = sampled[inside]
            out[view.name] = sign * shown
        return out


def _overlay(
    rows: Sequence[dict[str, Any]],
    found: Sequence[Picks],
    names: Sequence[str],
    diameter: float,
) -> tuple[bytes | None, str]:
    """Return the picture of the micrograph with the median number of picks, and its name."""
    if not rows:
        return None, ""
    number = sorted(range(len(rows)), key=lambda n: (len(found[n]), n))[len(rows) // 2]
    row = rows[number]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "overlay.png"
        try:
            image = read_micrograph(row["path"], row["pixel_size"]).data
        except GempickError:
            return None, ""  # said already
        overlay(place, image, found[number], names, pixel_size=row["pixel_size"], diameter=diameter, dpi=120)
        return place.read_bytes(), row["name"]


def _settings(settings: PickSettings) -> list[tuple[str, str, bool]]:
    """Return every setting as text with its unit, and whether it is the default."""
    out = []
    for name, one in declarations(PickSettings).items():
        value = getattr(settings, name)
        unit = f" {one.unit}" if one.unit and value is not None else ""
        text = f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)
        text = "\n".join(map(str, value)) if one.many else text
        out.append((name.replace("_", " "), text + unit, value == one.default))
    return out


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    done = [row for row in run["micrographs"] if "error" not in row]
    seconds = sum(row.get("seconds", 0.0) for row in done)
    devices = ", ".join(f"{device.get('model', device.get('name'))}" for device in run.get("devices", []))
    sizes = sorted({f"{row['shape'][1]} x {row['shape'][0]} px, {row['pixel_size']:g} Å" for row in done})
    return [
        ("Rotated templates", str(len(run.get("search_images", {}).get("k", [])))),
        ("Particle diameter", f"{run['diameter']:.0f} Å"),
        ("Micrographs", "; ".join(sizes[:3]) + (" ..." if len(sizes) > 3 else "")),
        ("Devices", devices),
        ("Search time", f"{seconds:.1f} s"),
        ("Program", run.get("program", "") + (f", Python {run['python']}" if "python" in run else "")),
    ]
