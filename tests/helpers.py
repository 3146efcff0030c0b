"""Small banks, searches, picks and particles for the tests."""

from dataclasses import replace

import numpy as np

from napari_gempick.device.cpu import CpuDevice
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.engine.templates.bank import Bank, Section
from napari_gempick.engine.templates.masks import ImageMask
from napari_gempick.model.geometry import Grid, Orientation
from napari_gempick.model.picks import Picks
from napari_gempick.model.score_maps import BankIndex


def bank_of(
    templates, masks, *, step=0, full=360, spacing=1.0, pixel_size=1.0, names=("view",), per_view=None, folds=(), **more
):
    """A bank of templates (arrays) under masks (arrays, or mask objects)."""
    made = [ImageMask(mask, pixel_size, soft=True) if isinstance(mask, np.ndarray) else mask for mask in masks]
    sections = [
        Section(np.asarray(t, np.float32), pixel_size, m, f"section {i}")
        for i, (t, m) in enumerate(zip(templates, made, strict=True))
    ]
    return Bank(BankIndex(names, per_view or (len(sections),), step, full, folds), sections, spacing, **more)


def search(image, bank, plans, *, grid=None, threads=2, devices=None, tile=None, **more):
    """Search an image; returns the score map."""
    grid = grid or Grid(image.shape, 1.0)
    prepared = prepare(np.asarray(image, np.float32), grid, **more)
    chooser = plans.tile_shape if tile is None else (lambda key, choose: tile)
    pool = DevicePool(devices or [CpuDevice(threads, plans)])
    return run_search(Search(prepared, bank, chooser), pool)[0]


def picks_at(x, y, **columns):
    """Picks at positions on the micrograph's grid; where no column is given the score is 1, psi and numbers are 0."""
    x, y = (np.atleast_1d(np.asarray(one, np.float64)) for one in (x, y))
    kinds = {"map_x": np.int32, "map_y": np.int32, "score": np.float32, "psi": np.float64}
    given = {"map_x": np.rint(x), "map_y": np.rint(y), "score": 1, "k": 0, "view": 0, "section": 0, "psi": 0, **columns}
    made = {name: np.full(x.shape, one, kinds.get(name, np.int32)) for name, one in given.items()}
    return Picks(x, y, **made)


def no_space(*_):
    """Stands for a function that writes, on a full disk."""
    raise OSError(28, "No space left on device")


def upside_down(made):
    """A coordinate format that writes its files flipped in y."""

    def write(path, picks, info):
        made.writer(path, Orientation(flip_y=True).apply(picks, info.shape), info)

    return replace(made, writer=write)


class Blobs:
    """A lopsided particle made of Gaussians, known everywhere: the truth for positions and angles.

    Positions and widths in Å about the particle's centre, x right, y down.
    """

    PARTS = ((0.0, 0.0, 16.0, 1.0), (34.0, 6.0, 8.0, 0.8), (-22.0, 26.0, 7.0, -0.6), (10.0, -36.0, 9.0, 0.7))

    @classmethod
    def image(cls, shape, pixel_size, centres, psis=None):
        """Render copies at `centres` (x, y in pixels), turned by psi counter-clockwise on screen."""
        y, x = (np.arange(n) * pixel_size for n in shape)
        out = np.zeros(shape)
        for (cx, cy), psi in zip(centres, psis if psis is not None else [0.0] * len(centres), strict=True):
            cosine, sine = np.cos(np.radians(psi)), np.sin(np.radians(psi))
            for px, py, width, height in cls.PARTS:
                # y points down: counter-clockwise on screen takes (1, 0) to (cos, -sin)
                bx, by = px * cosine + py * sine, -px * sine + py * cosine
                along_x = np.exp(-((x - cx * pixel_size - bx) ** 2) / (2 * width**2))
                along_y = np.exp(-((y - cy * pixel_size - by) ** 2) / (2 * width**2))
                out += height * np.outer(along_y, along_x)
        return out.astype(np.float32)
