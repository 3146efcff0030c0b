"""Measure a whole run of gempick pick, from files to files: what each stage takes, and whether the devices wait."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_gempick.device.cpu import CpuDevice, CpuWorker
from napari_gempick.device.discover import open_devices
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.tiles import Precision
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.settings import make_settings
from napari_gempick.verification.prove import FIRST
from napari_gempick.workflows.bench import peak_memory_mib
from napari_gempick.workflows.pick import pick_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.device.base import Device
    from napari_gempick.model.settings import PickSettings

NONE = "none"
"""Name of a device that answers at once, so that only the time of all other work is measured."""
PIXEL_SIZE = 1.77
DIAMETER = 190.0
PARTICLES = 150
DIFFERENT = 12
"""Micrographs that are made; more have the same pixels under other names."""


class _AtOnce(CpuWorker):
    """Fills the maps with noise and some peaks, without looking at the micrograph."""

    def __init__(self, fft_shape: tuple[int, int], plans: PlanStore) -> None:
        super().__init__(fft_shape, plans)
        rng = np.random.default_rng(1)
        noise = gaussian_filter(rng.standard_normal(fft_shape), 2)
        self._noise = (0.08 * noise / noise.std()).astype(np.float32)
        self._noise[tuple(rng.integers(0, fft_shape, (12, 2)).T)] = 0.5

    def do(self, make: Callable[[], Any]) -> Any:
        """See device.base.TileWorker."""
        return Precision("single", "single")

    def spectrum(self, *_: Any) -> Any:
        """See device.base.TileWorker."""

    def template_spectra(self, bank: Any, ks: Sequence[int], precision: str) -> list[Any]:
        """See device.base.TileWorker."""
        return [None for _ in ks]

    def mask_spectra(self, bank: Any, groups: Sequence[int], precision: str) -> list[Any]:
        """See device.base.TileWorker."""
        return [None for _ in groups]

    def reciprocal_sigma(self, *_: Any) -> list[Any]:
        """See device.base.TileWorker."""
        return [None]

    def score(
        self, tile: Any, templates: Any, ks: Sequence[int], sigmas: Any, rects: Any, maps: Any, guard: Any, *_: Any
    ) -> None:
        """See device.base.TileWorker."""
        with guard:
            for score, index, sign in zip(maps[::2], maps[1::2], (1, -1), strict=False):
                part = index[rects[0]]
                if part.size and part.flat[0] < 0:
                    part[...] = ks[0]
                    noise = self._noise[: part.shape[0], : part.shape[1]]
                    score[rects[0]] = noise if sign > 0 else np.minimum(-noise, 0.3)


class _NoDevice(CpuDevice):
    """See NONE."""

    def __init__(self, threads: int, plans: PlanStore, name: str) -> None:
        super().__init__(threads, plans, name)
        self.cores = 0

    def worker(self, fft_shape: tuple[int, int]) -> CpuWorker:
        """See device.base.Device."""
        return _AtOnce(fft_shape, self._plans)


def measure_pipeline(
    *, micrographs: int = 12, micrograph_size: int = 4096, pixels: str = "int8", threads: int = 2, devices: str = "cpu"
) -> dict[str, Any]:
    """Pick micrographs that are made for this and return rates, times per micrograph, and how busy the devices were.

    288 rotated templates (two views, 144 angles), a low-pass at 20 Å, decoys and automatic thresholds: the default
    settings. Rates are of the steady state: from the end of the second micrograph to the end of the last but one, or
    from that of the 20th where there are 40 or more, because the coordinates of the first 20 are all checked. While the
    last one is written the devices have nothing left to do. The last step, which chooses thresholds with all
    micrographs, is measured by itself; its time is for each micrograph.

    Parameters
    ----------
    micrographs : int
        At least 4.
    micrograph_size : int
        Side in pixels of 1.77 Å.
    pixels : {'int8', 'float32'}
        What the files hold.
    threads : int
        CPU threads in all.
    devices : str
        As `--devices`; `none` answers at once.

    Raises
    ------
    GempickError
        A device cannot be used, or the temporary folder has no room.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = _make_files(folder, micrographs, micrograph_size, pixels, threads, devices)
        files = find_micrographs([folder / "mics"])
        plans = PlanStore()
        opened: list[Device] = (
            [_NoDevice(threads, plans, NONE)] if devices == NONE else open_devices(devices, threads, plans)
        )
        pick_files(settings, files[:1], folder / "first", devices=opened)  # makes plans
        marks: list[tuple[float, float]] = []

        def mark(_: dict[str, Any]) -> None:
            marks.append((time.monotonic(), time.process_time()))

        run = pick_files(settings, files, folder / "picks", devices=opened, finished=mark)
        ended = time.monotonic()
    last_step = (ended - marks[micrographs - 1][0]) / micrographs
    first = FIRST - 1 if micrographs >= 2 * FIRST else 1
    marks = marks[first : micrographs - 1]  # the last step, thresholds of the whole run, reports micrographs again
    wall, cpu = (last - first for first, last in zip(marks[0], marks[-1], strict=True))
    rows = run["micrographs"]
    stages = run["stages"]
    return {
        "micrographs": micrographs,
        "micrograph_size": micrograph_size,
        "pixels": pixels,
        "search_images": len(run["search_images"]["k"]),
        "devices": devices,
        "threads": threads,
        "micrographs_per_second": (len(marks) - 1) / wall,
        "seconds_per_micrograph": wall / (len(marks) - 1),
        "search_seconds": sum(row["seconds"] for row in rows) / len(rows),
        "devices_busy": stages["devices_busy"],
        "cores_used": cpu / wall,
        "stages": {name: seconds / micrographs for name, seconds in stages["seconds"].items()},
        "limited_by": stages["limited_by"],
        "last_step_seconds": last_step,
        "candidates": sum(row["candidates"] for row in rows) / len(rows),
        "peak_memory_mib": peak_memory_mib(),
    }


def _make_files(folder: Path, count: int, size: int, pixels: str, threads: int, devices: str) -> PickSettings:
    """Write micrographs of noise with particles, and the two views; return the settings."""
    rng = np.random.default_rng(0)
    (folder / "mics").mkdir()
    box = 2 * round(0.75 * DIAMETER / PIXEL_SIZE)
    views = [_particle(box, *sides) for sides in ((0.45, 0.35), (0.4, 0.4))]
    for number, view in enumerate(views):
        write_mrc(folder / f"view{number}.mrc", view, PIXEL_SIZE)
    for number in range(min(count, DIFFERENT)):
        image = gaussian_filter(rng.standard_normal((size, size), np.float32), 1.0)
        for y, x in rng.integers(0, max(1, size - box), (PARTICLES * size * size // 4096**2, 2)):
            image[y : y + box, x : x + box] -= 0.3 * views[int(rng.integers(2))]
        if pixels == "int8":
            image = np.clip(np.rint(image * (20 / image.std())), -128, 127).astype(np.int8)
        write_mrc(folder / "mics" / f"m{number:04d}.mrc", image, PIXEL_SIZE)
    for number in range(DIFFERENT, count):
        os.link(folder / "mics" / f"m{number % DIFFERENT:04d}.mrc", folder / "mics" / f"m{number:04d}.mrc")
    return make_settings(
        {
            "templates": tuple(f"view{number}={folder}/view{number}.mrc" for number in range(len(views))),
            "mask": (f"circle:{DIAMETER:g}",),
            "contrast": "opposite",
            "angle_step": 2.5,
            "lowpass": 20.0,
            "threshold": ("auto",),
            "threads": threads,
            "search": "full" if devices == NONE else "auto",
        }
    )


def _particle(box: int, *halves: float) -> NDArray[np.float32]:
    """Return a bright ellipse with soft edges, its half axes as shares of the diameter."""
    y, x = np.mgrid[:box, :box] - (box - 1) / 2
    radius = np.hypot(*(axis * PIXEL_SIZE / (DIAMETER * half) for axis, half in zip((y, x), halves, strict=True)))
    soft: NDArray[np.float32] = gaussian_filter((radius < 1).astype(np.float32), 2.0)
    return soft
