"""What a job will take: measured on this machine with one of its micrographs, then multiplied.

The cost model: how long a job takes in either distribution, and which to choose.

With M micrographs, K rotated templates, R ranks of C threads, t seconds for a rotated template on one thread, p seconds
to read and prepare a micrograph, and maps of B bytes (8 for each position and pair of maps) sent at W bytes per second:

    per micrograph   ceil(M / R) (p + K t / C)
    per template     M (p + ceil(K / R) t / C + ceil(log2 R) B / W)

The faster one is chosen; a tie goes to the micrographs, which need no messages.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_gempick.cluster.settings import ClusterSettings, as_cluster
from napari_gempick.device.discover import find_gpus, open_devices
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.matching.search import Search
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.inputs.bank_maker import BankMaker, loader
from napari_gempick.inputs.views import read_views
from napari_gempick.io.listing import MicrographFile, as_micrographs
from napari_gempick.model.errors import Cancelled, InputError
from napari_gempick.model.values import counted, figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_gempick.model.settings import PickSettings

SECONDS = 2.0
"""Seconds that a measurement takes; it always reaches the end of its second piece."""
TRIED = 20
"""Micrographs that are tried until one can be read."""
PROCESS = 350e6
PER_PIXEL = 60
PER_TILE_PIXEL = 45
STATISTICS = 0.6e9
"""Bytes of a rank: the program with its libraries; for each pixel (two micrographs in hand, maps, inverted maps); for
each pixel of a thread's tile; local statistics and rotated templates that are kept."""
CANDIDATES = 2e6
"""Bytes of a micrograph's candidates, picks and record: 0.6 MB for 4096² on a coarse grid, 2 MB for 2048² in full."""


@dataclass(frozen=True)
class Estimate:
    """What a job will take. None where no micrograph can be read here.

    Attributes
    ----------
    micrographs, search_images, ranks : int
    device : str
        What was measured: one core of this processor, or a GPU.
    seconds : float or None
        For one rotated template on one core (or the GPU).
    core_hours : float or None
        Of all ranks; GPU hours where GPUs are asked for.
    hours : float or None
        From start to end.
    distribution : str
        The one asked for, or the faster one of the cost model.
    memory : int or None
        GB for each node.
    input_bytes, result_bytes, map_bytes : int or None
        Of the templates and masks in the job folder, of picks and candidates, of maps to save.
    """

    micrographs: int
    search_images: int
    ranks: int
    device: str
    seconds: float | None
    core_hours: float | None
    hours: float | None
    distribution: str
    memory: int | None
    input_bytes: int = 0
    result_bytes: int | None = None
    map_bytes: int | None = None

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return the estimate in words."""
        what = f"{counted(self.micrographs, 'micrograph')} x {counted(self.search_images, 'rotated template')}"
        what += f" on {counted(self.ranks, 'rank')}"
        if self.seconds is None or self.core_hours is None or self.hours is None:
            return [f"{what}; no micrograph can be read here, so time and memory cannot be estimated."]
        unit = "GPU hours" if self.device.startswith("cuda") else "core hours"
        maps = f", {size(self.map_bytes)} of maps" if self.map_bytes else ""
        return [
            f"{what}, by {self.distribution}.",
            f"About {figures(self.core_hours, 2)} {unit} and {_time(self.hours)} from start to end "
            f"({figures(1e3 * self.seconds)} ms for a rotated template on {self.device}, measured here).",
            f"About {self.memory} GB of memory for each node; {size(self.input_bytes)} of templates and masks, "
            f"{size(self.result_bytes)} of picks{maps}.",
        ]


def _time(hours: float) -> str:
    """Return a time in words."""
    if hours >= 2:
        return f"{figures(hours)} hours"
    return f"{figures(60 * hours, 2)} minutes" if hours >= 1 / 30 else counted(max(1, round(3600 * hours)), "second")


def size(count: int | None) -> str:
    """Return a number of bytes in words."""
    value = float(count or 0)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{figures(value)} {unit}"
        value /= 1000
    return f"{figures(value)} TB"


@dataclass(frozen=True)
class Measured:
    """One micrograph measured here, from which estimates for any number of nodes follow.

    Attributes
    ----------
    device : str
        See Estimate.
    seconds, preparation : float or None
        For one rotated template, and for reading and preparing a micrograph. None where no micrograph can be read here.
    pixels, positions, tile_pixels : int
        Of the micrograph, its map, and the tile that a thread works on.
    """

    micrographs: int
    search_images: int
    device: str
    gpu: bool
    seconds: float | None = None
    preparation: float = 0.0
    pixels: int = 0
    positions: int = 0
    tile_pixels: int = 0

    def estimate(self, settings: PickSettings, cluster: ClusterSettings, views: int, input_bytes: int = 0) -> Estimate:
        """Return what a job of these micrographs takes; `views` is the number of named views."""
        n, count, ranks, wanted = self.micrographs, self.search_images, cluster.ranks, cluster.distribution
        if self.seconds is None:
            likely = ("templates" if n < ranks else "micrographs") if wanted == "auto" else wanted
            return Estimate(n, count, ranks, self.device, None, None, None, likely, None, input_bytes)
        pairs = 2 if settings.decoys else 1
        threads = max(1, cluster.gpus_per_node // cluster.tasks_per_node) if self.gpu else cluster.cpus_per_task
        both = cost(n, count, ranks, threads, self.seconds, self.preparation, 8 * self.positions * pairs)
        distribution = both.choice if wanted == "auto" else wanted
        pixels, tile = self.pixels + self.positions, self.tile_pixels
        rank = PROCESS + STATISTICS + PER_PIXEL * pixels + PER_TILE_PIXEL * tile * (2 if self.gpu else threads)
        own = views if settings.per_view_maps and views > 1 else 0
        maps = 8 * self.positions * (pairs + own) if settings.save_maps or settings.per_view_maps else 0
        return Estimate(
            n,
            count,
            ranks,
            self.device,
            self.seconds,
            n * (self.preparation + count * self.seconds) / 3600,
            (both.templates if distribution == "templates" else both.micrographs) / 3600,
            distribution,
            max(1, round(rank * cluster.tasks_per_node / 1e9 + 0.5)),
            input_bytes,
            round(n * CANDIDATES),
            n * maps,
        )


def estimate_job(
    settings: PickSettings,
    micrographs: str | Path | Sequence[str | Path] | Sequence[MicrographFile],
    cluster: ClusterSettings | Mapping[str, Any],
    plans: PlanStore | None = None,
    *,
    makers: BankMaker | None = None,
    input_bytes: int = 0,
) -> Estimate:
    """Measure one micrograph's first rotated templates here and multiply. Plans are made and stored on the way.

    Parameters
    ----------
    settings : PickSettings
    micrographs : as `pick_files`
    cluster : ClusterSettings or mapping
        As `export_job`.
    plans : PlanStore, optional
        Default: the user's.
    makers : BankMaker, optional
        Where the templates are made already.
    input_bytes : int
        Of the files that go into the job folder.

    Raises
    ------
    GempickError
        Settings or templates cannot be used.

    Examples
    --------
    >>> settings = gp.PickSettings(templates={"top": "template_top.mrc"}, diameter=385, angle_step=30)
    >>> expected = gp.estimate_job(settings, "micrograph_002.mrc", {"site": "mpirun", "tasks_per_node": 2})
    >>> expected.hours > 0
    True
    """
    cluster = as_cluster(cluster)
    makers = makers or BankMaker(settings, read_views(settings))
    listed = as_micrographs(micrographs)
    measured = measure_job(settings, listed, plans or PlanStore(), makers, gpu=cluster.gpus_per_node > 0)
    return measured.estimate(settings, cluster, len(makers.views), input_bytes)


def measure_job(
    settings: PickSettings, micrographs: Sequence[MicrographFile], plans: PlanStore, makers: BankMaker, *, gpu: bool
) -> Measured:
    """Measure the first micrograph that can be read; with `gpu` on a GPU where there is one. Errors: estimate_job."""
    gpu = gpu and bool(find_gpus()[0])
    device = open_devices("cuda:0" if gpu else "cpu", 1, plans)[0]
    name = device.name if gpu else f"one core of {device.describe()['model']}"
    count = len(makers.index)
    for micrograph in micrographs[:TRIED]:
        started = time.perf_counter()
        try:
            source = loader(micrograph, settings, makers)
            prepared = prepare(source.image, source.grid, source.lowpass, source.highpass)
            preparation = time.perf_counter() - started
            pool = DevicePool([device])
            make = functools.partial(Search, prepared, makers(source.grid), plans.tile_shape, pool.tiling)
            search = make(decoys=settings.decoys)
        except InputError:
            continue
        positions = source.grid.shape[0] * source.grid.shape[1]
        run_search(make(share=(0, 1, count)), pool)
        seconds = _measure(search, pool)
        tile = search.fft_shape[0] * search.fft_shape[1]
        return Measured(
            len(micrographs), count, name, gpu, seconds, preparation, int(source.image.size), int(positions), int(tile)
        )
    return Measured(len(micrographs), count, name, gpu)


def _measure(search: Search, pool: DevicePool) -> float:
    """Return the seconds of one rotated template, from the second unit on where there are several."""
    started, enough = time.perf_counter(), threading.Event()
    marks: list[tuple[float, int]] = []

    def progress(done: int, total: int) -> None:
        now = time.perf_counter() - started
        if done >= len(search.units[0].ks) and (not marks or done > marks[-1][1]):
            marks.append((now, done))
        if len(marks) > 1 and now > SECONDS:
            enough.set()

    try:
        run_search(search, pool, cancel=enough, progress=progress)
    except Cancelled:
        pass
    else:
        marks.append((time.perf_counter() - started, search.total))
    (first, before), (last, done) = marks[0], marks[-1]
    if done > before:
        return (last - first) / (done - before)
    return last / done


LINK = 1e9
"""Bytes per second that one round of the reduction takes, message and maximum: assumed, for a cluster's network."""


@dataclass(frozen=True)
class Cost:
    """Seconds in either distribution."""

    micrographs: float
    templates: float

    @property
    def choice(self) -> str:
        """The distribution that ends first."""
        return "templates" if self.templates < self.micrographs else "micrographs"


def cost(
    micrographs: int, search_images: int, ranks: int, threads: int, seconds: float, preparation: float, map_bytes: int
) -> Cost:
    """Return the expected seconds of a job; see the module for the model.

    Parameters
    ----------
    micrographs, search_images, ranks, threads : int
        M, K, R, C.
    seconds, preparation : float
        t and p.
    map_bytes : int
        B.
    """
    rounds = math.ceil(math.log2(ranks)) if ranks > 1 else 0
    search = seconds / threads
    return Cost(
        math.ceil(micrographs / ranks) * (preparation + search_images * search),
        micrographs * (preparation + math.ceil(search_images / ranks) * search + rounds * map_bytes / LINK),
    )
