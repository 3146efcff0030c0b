"""References from clicked or earlier picks: on arrays, and from files to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_gempick.engine.preprocess.defects import replace_defects
from napari_gempick.engine.templates.alignment import average_classes, cut_boxes, outer_side
from napari_gempick.engine.templates.masks import EDGE_PIXELS, outline, soft_edge
from napari_gempick.evaluation.evaluate import entry_particles, settled
from napari_gempick.io.atomic import beside, refuse_existing
from napari_gempick.io.coordinates import PICK_FILES, TRUTH_FILES, common_ending, read_entries
from napari_gempick.io.formats.eman import EMAN2, possible_names
from napari_gempick.io.formats.relion import PARTICLES
from napari_gempick.io.images.micrograph import as_float32, read_micrograph, require_pixel_size
from napari_gempick.io.images.row_order import FLIP, from_bottom
from napari_gempick.io.listing import MicrographFile, as_micrographs
from napari_gempick.io.micrograph_names import shown
from napari_gempick.io.stack import AS_IN_MICROGRAPHS, write_mrc
from napari_gempick.io.star import write_tables
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.geometry import box_over_diameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_gempick.io.coordinates import Entry
    from napari_gempick.model.picks import Picks

MOST = 1000
"""Particles that are averaged unless told otherwise: more make no better template."""
FEW = 0.05
"""A class with less than this share of the particles is worth a warning."""
SAME_PIXEL = 0.01
"""Micrographs whose pixel sizes differ by more than this share cannot be averaged together."""


@dataclass(frozen=True, eq=False)
class Averages:
    """References made from particles.

    Attributes
    ----------
    images : (classes, box, box) float32
        The largest class first; contrast as in the micrographs.
    masks : (classes, box, box) float32
        The outline of each, with a soft edge.
    micrograph : (n,) int
        Where each particle is from.
    x, y, psi, score : (n,) float64
        Its refined position (px), angle (degrees) and NCC with the average of the others of its class.
    label : (n,) int
        Its class, from 0.
    """

    images: NDArray[np.float32]
    masks: NDArray[np.float32]
    micrograph: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    psi: NDArray[np.float64]
    score: NDArray[np.float64]
    label: NDArray[np.intp]

    def notes(self) -> list[str]:
        """Return sentences about classes that hold less than 5 % of the particles."""
        sizes = np.bincount(self.label, minlength=len(self.images)).tolist()
        small = [(number, size) for number, size in enumerate(sizes, 1) if size < FEW * len(self.label)]
        if not small:
            return []
        which = ", ".join(f"section {number} ({size} of {len(self.label)} particles)" for number, size in small)
        return [
            f"{'A class holds' if len(small) == 1 else 'Some classes hold'} less than 5 % of the particles: {which}; "
            "ask for fewer classes, or do not use such an average as a template."
        ]


def average(
    micrographs: Iterable[ArrayLike],
    positions: Sequence[ArrayLike],
    box: int,
    *,
    psi: Sequence[ArrayLike] | None = None,
    classes: int = 1,
    iterations: int = 8,
    max_shift: float | None = None,
    defects: Literal["replace", "keep"] = "replace",
    progress: Callable[[float], None] | None = None,
) -> Averages:
    """Cut particles out, align them in rotation and shift, and average them; ten are enough for a start.

    Parameters
    ----------
    micrographs : iterable of (ny, nx) array
        Taken one at a time.
    positions : sequence of (n, 2) array
        x and y of the particles on each micrograph, px; those whose box is not whole are left out.
    box : int
        Side of the averages, px.
    psi : sequence of (n,) array, optional
        Degrees; the averages keep to these angles. Otherwise their longer axis lies along x.
    classes, iterations, max_shift, progress
        See engine.templates.alignment.average_classes.
    defects : {"replace", "keep"}
        Detector defects of the micrographs: see engine.preprocess.defects.

    Raises
    ------
    InputError
        There are no particles, or fewer than classes.

    Examples
    --------
    >>> micrograph = gp.read_micrograph("micrograph_002.mrc")
    >>> truth = gp.read_coordinates("micrograph_002_truth.csv")
    >>> tops = truth.picks.take(truth.picks.view == truth.view_names.index("top"))
    >>> made = gp.average([micrograph.data], [np.stack([tops.x, tops.y], axis=1)], box=128)
    >>> made.images.shape
    (1, 128, 128)
    """
    box += box % 2
    side = outer_side(box)
    cuts, kept, numbers, starts = [], [], [], []
    for number, (image, places) in enumerate(zip(micrographs, positions, strict=True)):
        pixels = np.asarray(image, np.float32)
        centres = np.asarray(places, np.float64).reshape(-1, 2)
        limits = np.array(pixels.shape)[::-1] - box / 2
        inside = ((centres >= box / 2) & (centres <= limits)).all(axis=1)
        if inside.any():
            pixels = replace_defects(pixels)[0] if defects == "replace" else pixels
            cuts.append(cut_boxes(pixels, centres[inside], side))
        kept.append(np.rint(centres[inside]))
        numbers += [number] * int(inside.sum())
        if psi is not None:
            starts.append(np.asarray(psi[number], np.float64)[inside])
    boxes = np.concatenate(cuts) if cuts else np.zeros((0, side, side), np.float32)
    if len(boxes) < max(1, classes):
        raise InputError(
            f"{len(boxes)} particles with a whole box of {box} pixels are not enough for {classes} "
            f"{'average' if classes == 1 else 'classes'}; give more picks or a smaller box."
        )
    images, poses = average_classes(
        boxes,
        box,
        classes=classes,
        iterations=iterations,
        max_shift=max_shift,
        start=np.concatenate(starts) if starts else None,
        progress=progress,
    )
    masks = np.stack([soft_edge(outline(image), EDGE_PIXELS) if image.any() else image for image in images])
    y, x = (np.concatenate(kept)[:, ::-1] + poses.shift).T
    return Averages(images, masks, np.array(numbers), x, y, poses.psi, poses.score, poses.label)


def average_files(
    micrographs: str | Path | Sequence[str | Path] | Sequence[MicrographFile],
    picks: Path | str,
    output: Path | str,
    *,
    box: int | None = None,
    diameter: float | None = None,
    pixel_size: float | None = None,
    select: Sequence[str] = (),
    max_particles: int = MOST,
    use_psi: bool = False,
    classes: int = 1,
    iterations: int = 8,
    max_shift: float | None = None,
    defects: Literal["replace", "keep"] = "replace",
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Average the picks of a file or folder into OUT.mrc, OUT_mask.mrc and OUT.star.

    Parameters
    ----------
    micrographs : as `pick_files`
    picks : Path or str
        A file or folder of coordinates.
    output : Path or str
        OUT.mrc, or OUT.mrcs for several classes.
    box : int, optional
        px; default that of the picks, or 1.5 times the diameter.
    diameter, max_shift : float, optional
        Å.
    pixel_size : float, optional
        Å; default the micrographs' headers.
    select : sequence of COLUMN=VALUE
        Only the picks with one of these values in a column (`view` of the file's views as well).
    max_particles : int
        Use at most this number: the best-scoring, or the first where there are no scores.
    defects : {"replace", "keep"}
        Detector defects of the micrographs.
    use_psi : bool
        Keep to the angles of the picks.

    Raises
    ------
    GempickError
        Micrographs or picks cannot be used or do not fit together, or a file already exists.

    Examples
    --------
    >>> truth = "micrograph_002_truth.csv"
    >>> made = gp.average_files("micrograph_002.mrc", truth, "top.mrc", box=128, select=["view=top"])
    >>> made["templates"], gp.read_stack("top.mrc").data.shape
    ('top.mrc', (1, 128, 128))
    """
    listed, picks, output = as_micrographs(micrographs), Path(picks), Path(output)
    star = beside(output, "", ".star")
    refuse_existing([output, beside(output, "_mask"), star], overwrite)
    entries, _, notes, missing = read_entries(picks, TRUTH_FILES if _only_tables(picks) else PICK_FILES)
    files, used, chosen = _picks_of(listed, entries, select, max_particles)
    if not files:
        raise InputError(f"{picks} has no such picks on these micrographs; check the names, and --select.", picks)
    shapes, sizes = [], []
    for file in files:
        micrograph = read_micrograph(file.path, pixel_size, listed=file.pixel_size)
        shapes.append((micrograph.data.shape[0], micrograph.data.shape[1]))
        sizes.append(require_pixel_size(micrograph))
    require_same_pixel(sizes)
    if use_psi and any(np.isnan(one.psi).any() for one in chosen):
        raise InputError(f"{picks} does not give psi for all of these picks; omit --use-psi.", picks)

    def images() -> Iterator[NDArray[np.float32]]:
        for file, size in zip(files, sizes, strict=True):
            image = as_float32(read_micrograph(file.path, size), "replace")[0]
            image, bad = replace_defects(image) if defects == "replace" else (image, None)
            notes.extend(() if bad is None else (f"{file.path}: {bad.sentence()}",))
            yield image

    made = average(
        images(),
        [np.stack([one.x, one.y], axis=1) for one in chosen],
        _box(box, diameter, sizes[0], used),
        psi=[one.psi for one in chosen] if use_psi else None,
        classes=classes,
        iterations=iterations,
        max_shift=None if max_shift is None else max_shift / sizes[0],
        defects="keep",  # none is left
        progress=progress,
    )
    stack = classes > 1
    write_mrc(output, made.images if stack else made.images[0], sizes[0], stack=stack, note=AS_IN_MICROGRAPHS)
    write_mrc(beside(output, "_mask"), made.masks if stack else made.masks[0], sizes[0], stack=stack)
    write_tables(star, {"particles": _columns(made, [file.path for file in files], shapes)})
    return {
        "templates": str(output),
        "masks": str(beside(output, "_mask")),
        "star": str(star),
        "particles": len(made.x),
        "left_out_at_edges": sum(map(len, chosen)) - len(made.x),
        "notes": [*notes, *made.notes()],
        "classes": [_class(made, label) for label in range(classes)],
        "box": made.images.shape[-1],
        "pixel_size": sizes[0],
        "missing": missing,
    }


def _class(made: Averages, label: int) -> dict[str, Any]:
    scores = made.score[made.label == label]
    mean = round(float(scores.mean()), 4) if len(scores) else None
    return {"section": label + 1, "particles": len(scores), "mean_score": mean}


def require_same_pixel(sizes: Sequence[float]) -> None:
    """Refuse to average micrographs whose pixel sizes (Å) differ by more than 1 %.

    Raises
    ------
    InputError
        They do.
    """
    if max(sizes) > min(sizes) * (1 + SAME_PIXEL):
        raise InputError(
            f"The micrographs have pixel sizes from {min(sizes):g} to {max(sizes):g} Å, which cannot be averaged "
            "together; average each kind by itself, or give --pixel-size if the headers are wrong."
        )


def _only_tables(path: Path) -> bool:
    return path.is_dir() and not (path / "autopick.star").exists() and any(path.glob("*.csv"))


def _entry_of(micrograph: MicrographFile, entries: Sequence[Entry]) -> Entry | None:
    """Return the picks of a micrograph: of equal stems the one that shares most folders with it."""
    own = (*micrograph.path.parts[:-1], micrograph.stem)
    names = {micrograph.stem, micrograph.path.name}
    of_eman2 = names | possible_names(own)
    fitting = [e for e in entries if e.parts[-1] in (of_eman2 if e.found.program == EMAN2.name else names)]
    return max(fitting, key=lambda entry: common_ending(entry.parts, own), default=None)


def _picks_of(
    listed: Sequence[MicrographFile], entries: Sequence[Entry], select: Sequence[str], most: int
) -> tuple[list[MicrographFile], list[Entry], list[Picks]]:
    """Return the micrographs that have picks to average, the entries of these, and the picks."""
    pairs = [(file, _entry_of(file, entries)) for file in listed]
    placed = [(file, settled(entry, file.path)) for file, entry in pairs if entry is not None]
    chosen = _best([_selected(entry, select) for _, entry in placed], most)
    found = [(file, entry, picks) for (file, entry), picks in zip(placed, chosen, strict=True) if len(picks)]
    return [file for file, _, _ in found], [entry for _, entry, _ in found], [picks for _, _, picks in found]


def _selected(entry: Entry, select: Sequence[str]) -> Picks:
    """Return the picks that have one of the values asked for in each column.

    Raises
    ------
    InputError
        There is no such column.
    SettingsError
        The selection is not COLUMN=VALUE.
    """
    picks, columns = entry.found.picks, dict(entry.found.columns)
    columns.setdefault("view", entry_particles(entry).view.tolist())
    wanted: dict[str, set[str]] = {}
    for text in select:
        name, separator, value = text.partition("=")
        if not separator:
            raise SettingsError(f"--select {text}: write COLUMN=VALUE, such as view=side.")
        wanted.setdefault(name, set()).add(value)
    chosen = np.ones(len(picks), bool)
    for name, values in wanted.items():
        if name not in columns:
            raise InputError(
                f"{entry.path} has no column {name} (columns: {', '.join(columns)}); correct --select.", entry.path
            )
        chosen &= np.array([value in values for value in columns[name]], bool)
    return picks.take(chosen)


def _best(sets: Sequence[Picks], most: int) -> list[Picks]:
    """Return at most `most` picks over all micrographs: the best, or the first where scores are unknown."""
    if not sets:
        return []
    scores = np.nan_to_num(np.concatenate([one.score for one in sets]).astype(float), nan=-np.inf)
    rank = np.empty(len(scores), int)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    ends = np.cumsum([0, *(len(one) for one in sets)])
    return [one.take(rank[ends[i] : ends[i + 1]] < most) for i, one in enumerate(sets)]


def _box(box: int | None, diameter: float | None, pixel_size: float, entries: Sequence[Entry]) -> int:
    """Return the box in px: the one given, from the diameter in Å, or that of the picks."""
    if box is not None:
        return box
    if diameter is not None:
        return box_over_diameter(diameter, pixel_size)
    sizes = [size for entry in entries if (size := entry.found.common("box_size"))]
    if not sizes:
        raise SettingsError("The size of the particles is unknown; give --box in pixels or --diameter in Å.")
    return int(max(sizes))


def _columns(made: Averages, paths: Sequence[Path], shapes: Sequence[tuple[int, int]]) -> dict[str, list[str]]:
    """Return the aligned particles as RELION's columns, in the row order of RELION; `shapes` are (ny, nx) in px."""
    x, y, psi = made.x.copy(), made.y.copy(), made.psi.copy()
    for number, (path, shape) in enumerate(zip(paths, shapes, strict=True)):
        if from_bottom(PARTICLES.name, path):
            here = made.micrograph == number
            x[here], y[here], psi[here] = FLIP.carry(x[here], y[here], psi[here], shape)
    names = [shown(path) for path in paths]
    numbers = {"rlnCoordinateX": x, "rlnCoordinateY": y, "rlnAnglePsi": psi, "rlnAutopickFigureOfMerit": made.score}
    columns = {label: [f"{value:.4f}" for value in values] for label, values in numbers.items()}
    columns["rlnClassNumber"] = [str(label + 1) for label in made.label]
    return {"rlnMicrographName": [names[number] for number in made.micrograph], **columns}
