"""Templates from a 3D map, on arrays and from files to files, and the rotated templates of a run as files."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_gempick.engine.templates.masks import EDGE_PIXELS, ShapeMask, automatic_weights, framed, outline
from napari_gempick.engine.templates.projection import (
    Projector,
    setting_of_map,
    shrink,
    symmetry_group,
    viewing_directions,
)
from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.inputs.bank_maker import BankMaker, loader
from napari_gempick.inputs.views import choose_grid, read_views
from napari_gempick.io.atomic import beside, refuse_existing
from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.stack import AS_IN_MICROGRAPHS, PROTEIN_BRIGHT, read_map, write_mrc
from napari_gempick.io.star import write_tables
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.geometry import Extent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.model.settings import PickSettings

ANGLE_STEP = 15.0
POOR_FIT = 0.5
"""A map that correlates less with itself, turned by its symmetry, is reported as not having it."""


@dataclass(frozen=True, eq=False)
class Projections:
    """Templates made from a map.

    Attributes
    ----------
    images : (n, h, w) float32
        Integrals along the beam; protein-bright, or dark where they were inverted.
    masks : (n, h, w) float32
        Weights 0..1 with a soft edge, the same for all images.
    angles : (n, 3) float64
        rot, tilt and psi as RELION has them, degrees.
    pixel_size : float
        Å.
    symmetry_fit : float
        How well the map has the symmetry; see `engine.templates.projection.setting_of_map`.
    """

    images: NDArray[np.float32]
    masks: NDArray[np.float32]
    angles: NDArray[np.float64]
    pixel_size: float
    symmetry_fit: float = 1.0


def project_map(
    volume: ArrayLike,
    pixel_size: float,
    *,
    symmetry: str = "C1",
    angle_step: float | None = None,
    views: int | None = None,
    angles: Sequence[Sequence[float]] | None = None,
    lowpass: float | None = None,
    invert: bool = False,
    template_pixel_size: float | None = None,
    mask: Literal["auto", "circular"] = "auto",
    diameter: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> Projections:
    """Project a map from all sides.

    Parameters
    ----------
    volume : (z, y, x) array
        The map; its centre is voxel n // 2 of each axis.
    pixel_size : float
        Å per voxel.
    symmetry : str
        C1, C4, D2, ..., T, O, I: only the asymmetric unit is sampled. The setting of its axes is found from the map.
    angle_step, views : float, int, optional
        Mean distance of neighbouring views in degrees (default 15), or their number.
    angles : sequence of (rot, tilt) or (rot, tilt, psi), optional
        Degrees; these directions instead.
    lowpass : float, optional
        Å; see `engine.preprocess.fourier_filters.transfer`.
    invert : bool
        Change the sign: protein dark, as in micrographs.
    template_pixel_size : float, optional
        Å per pixel of the templates; default that of the map.
    mask : {"auto", "circular"}
        `auto` takes the union of all outlines (engine.templates.masks.automatic_weights), `circular` one circle that
        holds them all.
    diameter : float, optional
        Å; of the circle.
    progress : callable, optional
        Called with the share that is done.

    Raises
    ------
    SettingsError
        The symmetry or the sampling cannot be used.
    InputError
        The map is constant.

    Examples
    --------
    >>> volume, pixel_size = gp.read_map("map.mrc")
    >>> made = gp.project_map(volume, pixel_size, symmetry="D5", angle_step=30, lowpass=30, invert=True)
    >>> made.images.shape == made.masks.shape, made.pixel_size
    (True, 8.8)
    """
    density = np.asarray(volume, np.float32)
    if density.ndim != 3 or density.min() == density.max():
        raise InputError("The map must be a 3D array whose voxels are not all equal; give another map.")
    fit = 1.0
    if angles is None:
        group, fit = setting_of_map(density, symmetry)
        step = ANGLE_STEP if angle_step is None and views is None else angle_step
        chosen = np.pad(viewing_directions(group, step, views), [(0, 0), (0, 1)])
    else:
        symmetry_group(symmetry)
        chosen = np.array([[*direction, 0.0][:3] for direction in angles], float).reshape(-1, 3)
    spacing = template_pixel_size or pixel_size
    factor = max(1, math.floor(spacing / pixel_size + 1e-6))
    projector = Projector(shrink(density, factor), pixel_size * factor)
    side = 2 * math.ceil(projector.side * projector.pixel_size / spacing / 2 - 1e-6)
    extent = Extent(side // 2, side // 2, side - side // 2 - 1, side - side // 2 - 1)
    images = np.empty((len(chosen), side, side), np.float32)
    for number, (rot, tilt, psi) in enumerate(chosen):
        continuous = ContinuousImage(projector(rot, tilt, psi), projector.pixel_size, lowpass=lowpass, finest=spacing)
        images[number] = continuous.sample(0.0, spacing, extent)
        if progress is not None:
            progress((number + 1) / len(chosen))
    masks = _masks(images, spacing, mask, diameter)
    return Projections(images * np.float32(-1 if invert else 1), masks, chosen, spacing, fit)


def _masks(images: NDArray[np.float32], spacing: float, mask: str, diameter: float | None) -> NDArray[np.float32]:
    """Return one mask for all images (n, h, w): their outlines over one another, or the circle that holds them."""
    if mask == "auto" and diameter is None:
        return np.broadcast_to(automatic_weights(*images), images.shape)
    n = images.shape[-1]
    if diameter is None:
        rows, columns = np.nonzero(np.any([outline(image) for image in images], axis=0))
        diameter = (2 * float(np.hypot(rows - n // 2, columns - n // 2).max()) + EDGE_PIXELS) * spacing
    whole = framed(ShapeMask("circle", (diameter, diameter), EDGE_PIXELS * spacing), (n, n), spacing)
    return np.broadcast_to(whole, images.shape)


def project_files(
    path: Path | str,
    output: Path | str,
    *,
    map_pixel_size: float | None = None,
    named: Mapping[str, Sequence[float]] | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Project the map of a file into OUT.mrcs, OUT_mask.mrcs and OUT.star; named views into OUT_NAME.mrc and its mask.

    Parameters
    ----------
    path : Path or str
        The map.
    output : Path or str
        OUT.mrcs.
    map_pixel_size : float, optional
        Å; default the header's.
    named : mapping of view name to (rot, tilt) or (rot, tilt, psi), optional
        Degrees. Without `angle_step` and `views` among the options, OUT.mrcs holds these views.
    options
        See `project_map`.

    Returns
    -------
    dict
        What was made: files, number of views, sizes, notes.

    Raises
    ------
    GempickError
        The map or the options cannot be used, or a file already exists.

    Examples
    --------
    >>> made = gp.project_files("map.mrc", "views.mrcs", named={"side": (0, 90), "top": (0, 0)}, invert=True)
    >>> made["views"], gp.read_stack("views_top.mrc").data.ndim
    (2, 3)
    """
    named, output = dict(named or {}), Path(output)
    star = beside(output, "", ".star")
    files = {name: beside(output, f"_{name}", ".mrc") for name in named}
    mask_files = {name: beside(file, "_mask") for name, file in files.items()}
    refuse_existing([output, beside(output, "_mask"), star, *files.values(), *mask_files.values()], overwrite)
    volume, pixel_size = read_map(path, map_pixel_size)
    if pixel_size is None:
        raise InputError(f"{path} has no pixel size in its header; give --map-pixel-size in Å.", path)
    made = views = None
    if named:
        views = project_map(volume, pixel_size, **{**options, "angle_step": None, "views": None},
                            angles=list(named.values()))  # fmt: skip
        made = views
    if not named or options.get("angle_step") is not None or options.get("views") is not None:
        made = project_map(volume, pixel_size, **options, progress=progress)
    assert made is not None
    note = AS_IN_MICROGRAPHS if options.get("invert") else PROTEIN_BRIGHT
    write_mrc(output, made.images, made.pixel_size, stack=True, note=note)
    write_mrc(beside(output, "_mask"), made.masks, made.pixel_size, stack=True)
    _write_star(star, output, made)
    for number, name in enumerate(named):
        assert views is not None
        write_mrc(files[name], views.images[number], views.pixel_size, note=note)
        own = _masks(views.images[[number]], views.pixel_size, options.get("mask", "auto"), options.get("diameter"))
        write_mrc(mask_files[name], own[0], views.pixel_size)
    notes = []
    symmetry = options.get("symmetry", "C1")
    if made.symmetry_fit < POOR_FIT:
        notes.append(
            f"{path} does not look {symmetry} about its axes (correlation {made.symmetry_fit:.2f} with itself turned), "
            "so views will be missing; check --symmetry, or turn the map."
        )
    return {
        "map": str(path),
        "templates": str(output),
        "masks": str(beside(output, "_mask")),
        "star": str(star),
        "views": len(made.images),
        "symmetry": symmetry,
        "symmetry_fit": round(made.symmetry_fit, 4),
        "box": made.images.shape[-1],
        "pixel_size": made.pixel_size,
        "angles": made.angles.round(6).tolist(),
        "named_views": {name: {"template": str(files[name]), "mask": str(mask_files[name])} for name in named},
        "notes": notes,
    }


def _write_star(path: Path, output: Path, made: Projections) -> None:
    """Write the angles of every section as a RELION particle list, with one optics group."""
    optics = {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": ["1"],
        "rlnImagePixelSize": [f"{made.pixel_size:.9g}"],
        "rlnImageSize": [str(made.images.shape[-1])],
        "rlnImageDimensionality": ["2"],
    }
    particles = {"rlnImageName": [f"{number + 1:06d}@{output}" for number in range(len(made.images))]}
    for label, values in zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), made.angles.T, strict=True):
        particles[label] = [f"{value:.6f}" for value in values]
    particles["rlnOpticsGroup"] = ["1"] * len(made.images)
    write_tables(path, {"optics": optics, "particles": particles})


def named_angles(text: str) -> tuple[str, tuple[float, ...]]:
    """Read NAME=ROT,TILT or NAME=ROT,TILT,PSI, in degrees.

    Raises
    ------
    SettingsError
        It is written differently.
    """
    name, separator, values = text.partition("=")
    try:
        angles = tuple(float(value) for value in values.split(","))
    except ValueError:
        angles = ()
    sound = name and name.isprintable() and not any(mark in name for mark in "/\\") and all(map(math.isfinite, angles))
    if not separator or not sound or len(angles) not in (2, 3):
        raise SettingsError(f"--view {text}: write NAME=ROT,TILT or NAME=ROT,TILT,PSI in degrees, such as side=0,90.")
    return name, angles


_FIELD = (4096, 4096)
MOST = 20_000
"""Rotated templates of a view that are written."""


def rotate_files(
    settings: PickSettings,
    folder: Path,
    *,
    micrograph: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Write NAME_templates.mrcs and NAME_masks.mrcs for each view, and NAME.star with k, section and psi.

    A template is written as the search correlates it, (T - mu) M / (N sT), on the searched grid; those that the search
    skips for symmetry are left out.

    Parameters
    ----------
    settings : PickSettings
        `pixel_size` (Å) is that of the micrographs; default that of the templates.
    micrograph : Path, optional
        Gives its pixel size, its CTF (needed with `ctf`) and its spectrum (needed with `whiten`).
    progress : callable, optional
        Called with the share that is done.

    Raises
    ------
    GempickError
        The templates cannot be used, a file already exists, or a view has more than 20,000 rotated templates.
    """
    views = read_views(settings)
    if micrograph is None:
        settings = settings.model_copy(update={"pixel_size": settings.pixel_size or views[0].pixel_size})
        assert settings.pixel_size is not None
        makers = BankMaker(settings, views)
        grid = choose_grid(settings, _FIELD, settings.pixel_size)
        make_bank: Callable[[], Bank] = functools.partial(makers, grid, makers.preparation.filters(grid.pixel_size)[1])
    else:
        makers = BankMaker(settings, views)
        source = loader(MicrographFile(micrograph, PurePosixPath(micrograph.name)), settings, makers)
        grid, make_bank = source.grid, source.bank
    paths = {name: [folder / f"{name}{end}" for end in ("_templates.mrcs", "_masks.mrcs", ".star")]
             for name in makers.index.view_names}  # fmt: skip
    refuse_existing([path for of_view in paths.values() for path in of_view], overwrite)
    bank = make_bank()
    k = np.nonzero(bank.index.searched())[0].astype(np.int32)
    view_of_k, done = bank.index.view(k), 0
    made: dict[str, Any] = {}
    for view, (name, (templates, masks, star)) in enumerate(paths.items()):
        mine = k[view_of_k == view]
        if len(mine) > MOST:
            raise SettingsError(
                f"View {name} has {len(mine)} rotated templates; write fewer than {MOST} (--angle-step)."
            )
        stack = np.empty((2, len(mine), *bank.extent.box), np.float32)
        for row, number in enumerate(mine.tolist()):
            stack[0, row] = bank.template(number)
            stack[1, row] = bank.mask(int(bank.group_of[number]))
            done += 1
            if progress is not None:
                progress(done / len(k))
        for path, data in zip((templates, masks), stack, strict=True):
            write_mrc(path, data, grid.map_pixel_size, stack=True)
        columns = {
            "rlnImageName": [f"{row + 1:06d}@{templates}" for row in range(len(mine))],
            "gempickSearchImage": [str(number) for number in mine.tolist()],
            "rlnClassNumber": [str(section + 1) for section in bank.index.section(mine).tolist()],
            "rlnAnglePsi": [f"{psi:.6g}" for psi in bank.index.psi(mine).tolist()],
        }
        write_tables(star, {"particles": columns})
        made[name] = {"templates": str(templates), "masks": str(masks), "star": str(star), "search_images": len(mine)}
    return {
        "notes": [note for view in views for note in view.notes],
        "views": made,
        "pixel_size": grid.map_pixel_size,
        "grid_ratio": str(Fraction(grid.ratio)),
        "box": list(bank.extent.box),
        "centre": [bank.extent.top, bank.extent.left],
        "masks_in_all": len(bank.groups),
    }
