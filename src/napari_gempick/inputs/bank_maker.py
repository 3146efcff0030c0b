"""What the search of a micrograph needs: its pixels, and rotated templates and masks on any grid, made once, kept."""

from __future__ import annotations

import functools
import hashlib
import math
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.matching.read_ahead import Source
from napari_gempick.engine.preprocess.prepare import MOST
from napari_gempick.engine.templates.angle_steps import StepLoss, even, half_crowther
from napari_gempick.engine.templates.bank import Bank, Section
from napari_gempick.engine.templates.masks import (
    EDGE_PIXELS,
    ImageMask,
    Mask,
    ShapeMask,
    automatic_weights,
    in_plane_symmetry,
    outline,
    parse_shape,
)
from napari_gempick.inputs.preparation import Preparation
from napari_gempick.inputs.views import read_image
from napari_gempick.model.errors import Cancelled, SettingsError
from napari_gempick.model.geometry import Grid, coarsest_ratio
from napari_gempick.model.score_maps import BankIndex

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

    from napari_gempick.engine.preprocess.fourier_filters import Transfer
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.inputs.views import View
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.settings import PickSettings

BANKS_KEPT = 2

FEW = 4
"""Templates of a view up to which its symmetry is looked for."""

MUCH = 0.05
"""Share of the score that a step may cost without a word."""

SOFTENING = 0.6
"""Standard deviation in map pixels that smooths binary mask files on a cropped grid: about a two-pixel edge."""


class BankMaker:
    """Makes the bank for any grid and keeps the last ones.

    Parameters
    ----------
    cancel : threading.Event, optional
        Set it to stop: making a bank then raises Cancelled.
    preparation : Preparation, optional
        Made before, from settings with the same filters and CTF.
    """

    def __init__(
        self,
        settings: PickSettings,
        views: list[View],
        cancel: threading.Event | None = None,
        preparation: Preparation | None = None,
    ) -> None:
        self._settings, self.views, self._cancel = settings, views, cancel
        self.preparation = preparation or Preparation(settings)
        self._lock = threading.Lock()
        self._whole: dict[Fraction, BankMaker] = {}
        self._sketches: dict[tuple[float, Fraction], Bank] = {}
        self._banks: OrderedDict[tuple[float, Fraction, Transfer | None], Bank] = OrderedDict()
        self.diameter = settings.diameter or max(self._area_diameter(view) for view in views)
        self.index = BankIndex(
            tuple(view.name for view in views),
            tuple(len(view.templates) for view in views),
            self._angle_step(),
            settings.angle_range,
            settings.folds.of(tuple(view.name for view in views)),
        )

    def _check(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("Stopped.")

    def _edge(self, grid: Grid) -> float:
        """Return the width of the soft edge of shape masks, Å.

        By default it is two pixels of the coarsest grid that the low-pass allows, whichever grid is searched, so that
        both give the same scores; without a low-pass shapes are binary.
        """
        least = 2 * grid.map_pixel_size if grid.ratio > 1 else 0.0
        if self._settings.mask_edge is not None:
            return max(self._settings.mask_edge, least)
        ratio = coarsest_ratio(self._settings.lowpass, grid.pixel_size)
        return max(least, 2 * grid.pixel_size * float(ratio) if ratio > 1 else 0.0)

    def _masks(self, view: View, edge: float, softening: float) -> list[Mask]:
        """Return a mask for each template of a view; equal ones are one object. Edge and softening in Å, see masks."""
        settings = self._settings
        shape = parse_shape(view.mask)
        if shape is not None:
            mask: Mask = ShapeMask(*shape, edge)
            height, width = (n * view.pixel_size for n in view.templates[0].shape)
            along_x, along_y = shape[1]
            if along_x > width + 2 * view.pixel_size or along_y > height + 2 * view.pixel_size:
                raise SettingsError(
                    f"The mask {view.mask} is larger than the template of view {view.name!r} "
                    f"({width:g} x {height:g} Å); give a smaller mask, or check the template's pixel size."
                )
            return [mask] * len(view.templates)
        if view.mask_weights is None:
            pixels = max(EDGE_PIXELS, edge / view.pixel_size)
            drawn: dict[tuple[int, ...], Mask] = {}
            for size in dict.fromkeys(template.shape for template in view.templates):
                weights = automatic_weights(*(t for t in view.templates if t.shape == size), edge=pixels)
                drawn[size] = ImageMask(weights, view.pixel_size)
            return [drawn[template.shape] for template in view.templates]
        soft = settings.mask_rotation == "soft"
        made: list[Mask] = [ImageMask(w, view.pixel_size, soft=soft, softening=softening) for w in view.mask_weights]
        return made * len(view.templates) if len(made) == 1 else made

    def _area_diameter(self, view: View) -> float:
        """Return the diameter in Å of the circle with the largest mask's area, of automatic masks their outline's."""
        spacing = view.pixel_size
        if view.mask == "auto":
            return 2 * math.sqrt(max(float(outline(t).sum()) for t in view.templates) / math.pi) * spacing
        areas = [float(mask.sample(0, spacing)[0].sum()) for mask in dict.fromkeys(self._masks(view, 0.0, 0.0))]
        return 2 * math.sqrt(max(areas) / math.pi) * spacing

    def _sections(self, edge: float, softening: float) -> list[Section]:
        """Return every template under its mask; edge and softening in Å, see masks."""
        sign = np.float32(-1 if self._settings.contrast == "opposite" else 1)
        return [
            Section(image * sign, view.pixel_size, mask, which)
            for view in self.views
            for image, mask, which in zip(view.templates, self._masks(view, edge, softening), view.names, strict=True)
        ]

    @functools.cached_property
    def step_loss(self) -> StepLoss:
        """What steps of psi cost with these templates."""
        return StepLoss(self._sections(0.0, 0.0), self._settings.lowpass, self._settings.highpass)

    def _angle_step(self) -> float:
        """Return the step of psi: the one asked for, or as fine as detail and diameter ask for.

        The detail is that of the low-pass. Without one, the templates are turned to see what a step costs; where the
        micrograph changes their spectrum, the detail is two pixels of the templates.
        """
        settings = self._settings
        if settings.angle_step is not None:
            return settings.angle_step
        finest = 2 * max(view.pixel_size for view in self.views)
        if settings.lowpass is None and settings.ctf is None and not settings.whiten:
            return even(self.step_loss.coarsest())
        across = settings.diameter or max(section.mask.diameter for section in self._sections(0.0, 0.0))
        return even(half_crowther(max(settings.lowpass or 0.0, finest), across))

    def step_notes(self) -> list[str]:
        """Say what a step that was asked for costs, where that is much."""
        step = self._settings.angle_step
        if not step:
            return []
        loss = self.step_loss(step)
        if loss <= MUCH:
            return []
        finest = self._settings.model_copy(update={"angle_step": None})
        finer = BankMaker(finest, self.views, preparation=self.preparation).index.angle_step
        return [
            f"An angle step of {step:g} degrees costs {100 * loss:.0f} % of the score with these templates; "
            f"--angle-step auto takes {finer:.2g} degrees."
        ]

    def refines(self, grid: Grid) -> bool:
        """Return whether positions and angles are refined, between the searched ones, after a search on this grid."""
        return grid.ratio > 1 or self._settings.angle_step is None

    def lowpass(self, grid: Grid) -> float | None:
        """Return the low-pass in Å on a grid: the one asked for, and never finer than what the grid can hold."""
        if grid.ratio == 1:
            return self._settings.lowpass
        return max(self._settings.lowpass or 0.0, 2 * grid.map_pixel_size)

    def __call__(self, grid: Grid, transfer: Transfer | None = None) -> Bank:
        """Return the bank for a grid, its templates filtered by `transfer` in the micrograph's frame."""
        key = (round(grid.pixel_size, 9), grid.ratio, transfer)
        bank = self._banks.pop(key, None)
        if bank is None:
            bank = self._make(grid, self.index, transfer)
        self._banks[key] = bank
        while len(self._banks) > BANKS_KEPT:
            self._banks.popitem(last=False)
        return bank

    def hints(self) -> list[str]:
        """Return sentences for the user about the templates: how they were read, and symmetry_hints."""
        return [*(note for view in self.views for note in view.notes), *self.symmetry_hints()]

    def _make(self, grid: Grid, index: BankIndex, transfer: Transfer | None = None) -> Bank:
        edge, softening = self._edge(grid), SOFTENING * grid.map_pixel_size if grid.ratio > 1 else 0.0
        return Bank(
            index,
            self._sections(edge, softening),
            grid.map_pixel_size,
            lowpass=self.lowpass(grid),
            highpass=self._settings.highpass,
            oversampling=grid.oversampling,
            transfer=transfer,
            check=self._check,
        )

    def unturned(self, grid: Grid) -> Bank:
        """Return the bank for a grid without its rotations; it is kept, and made on any thread."""
        key = (round(grid.pixel_size, 9), grid.ratio)
        with self._lock:
            if key not in self._sketches:
                index = BankIndex(self.index.view_names, self.index.sections_per_view, 0.0, 360.0)
                self._sketches[key] = self._make(grid, index)
            return self._sketches[key]

    def on_full_grid(self, grid: Grid) -> BankMaker:
        """Return the maker of the same search on the file's pixels: the same filters, and masks with the same edge."""
        with self._lock:
            if grid.ratio not in self._whole:
                same = {"grid": "full", "lowpass": self.lowpass(grid), "mask_edge": self._edge(grid)}
                same["angle_step"] = self.index.angle_step
                settings = self._settings.model_copy(update=same)
                self._whole[grid.ratio] = BankMaker(settings, self.views, self._cancel, self.preparation)
            return self._whole[grid.ratio]

    def symmetry_hints(self) -> list[str]:
        """Say which views look symmetric in the plane and are searched as if they were not; the user decides."""
        hints = []
        names, folds = self.index.view_names, self.index.folds
        for view, fold in zip(self.views, folds, strict=True):
            if fold > 1 or len(view.templates) > FEW or self.index.n_rotations == 1:
                continue
            size = view.templates[0].shape
            found = []
            for template, mask in zip(view.templates, self._masks(view, 0.0, 0.0), strict=True):
                weights, extent = mask.sample(0, view.pixel_size)
                whole = np.zeros(np.add(size, weights.shape), np.float32)  # a mask may reach beyond its template
                top, left = max(0, size[0] // 2 - extent.top), max(0, size[1] // 2 - extent.left)
                cut = weights[max(0, extent.top - size[0] // 2) :, max(0, extent.left - size[1] // 2) :]
                whole[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
                found.append(in_plane_symmetry(template, whole[: size[0], : size[1]]))
            n, alike = min(found)
            if n > 1:
                option = f"{view.name}={n}" if len(names) > 1 else str(n)
                hints.append(
                    f"View {view.name!r} looks the same after {360 / n:g} degrees (correlation {alike:.2f}): "
                    f"--in-plane-symmetry {option} would search 1/{n} of its angles."
                )
        return hints

    def record(self) -> list[dict[str, Any]]:
        """Return what run.json says about the views, in the order of their sections."""
        return [
            {
                "name": view.name,
                "sections": len(view.templates),
                "pixel_size": view.pixel_size,
                "mask": view.mask,
                "checksum": _checksum(view),
                **({"images": list(view.images)} if view.images else {}),
            }
            for view in self.views
        ]


def _checksum(view: View) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for image in view.templates:
        digest.update(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).tobytes())
    if view.mask_weights is not None:
        digest.update(view.mask_weights.tobytes())
    return digest.hexdigest()


ON_FULL_GRID = "It was searched on the full grid, because very bright or dark pixels spoil the scores on a coarser one."


def with_full_grid(source: Source, makers: BankMaker, of_templates: Transfer | None = None) -> Source:
    """Return a source that is searched on the full grid where a coarser one would give wrong local variances."""
    grid = source.grid

    def instead(prepared: Prepared) -> Source | None:
        if prepared.squares is None or prepared.squares.error(makers.unturned(grid), grid) <= MOST:
            return None
        whole = Grid(grid.file_shape, grid.pixel_size)
        bank = functools.partial(makers.on_full_grid(grid), whole, of_templates)
        notes = (*source.notes, ON_FULL_GRID)
        return replace(source, grid=whole, bank=bank, notes=notes, instead=None, refine=makers.refines(whole))

    return replace(source, instead=instead) if grid.ratio > 1 else source


def loader(micrograph: MicrographFile, settings: PickSettings, makers: BankMaker) -> Source:
    """Read one micrograph for the search; errors as io.images.micrograph."""
    image, grid, notes, raw = read_image(micrograph.path, settings, micrograph.pixel_size)
    ctf = makers.preparation.ctf_of(micrograph.path)
    return replace(source_of(image, grid, settings, makers, ctf, notes), raw=raw)


def source_of(
    image: NDArray[np.float32],
    grid: Grid,
    settings: PickSettings,
    makers: BankMaker,
    ctf: Ctf | None = None,
    notes: tuple[str, ...] = (),
) -> Source:
    """Return what the search of a micrograph (ny, nx) needs."""
    image, cleaned, replaced = makers.preparation.clean(image)
    of_micrograph, of_templates = makers.preparation.filters(grid.pixel_size, image, ctf)
    bank = functools.partial(makers, grid, of_templates)
    filters = makers.lowpass(grid), settings.highpass, (*notes, *cleaned), of_micrograph
    source = Source(image, grid, bank, *filters, replaced=replaced, refine=makers.refines(grid))
    return with_full_grid(source, makers, of_templates)
