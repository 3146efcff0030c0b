"""Extract the particles of a data set into one stack with its STAR file: streamed, in threads, resumable."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.cores import usable_cores
from napari_gempick.extraction.cut import cut, finish, fits, touches
from napari_gempick.extraction.particle_stack import ParticleStack, is_finished
from napari_gempick.extraction.particle_star import ParticleRows
from napari_gempick.io.formats.coordinate_set import ReadOptions
from napari_gempick.io.formats.relion import PARTICLES
from napari_gempick.io.images.micrograph import open_image, read_micrograph, require_pixel_size
from napari_gempick.io.images.row_order import FLIP, from_bottom
from napari_gempick.io.micrograph_names import MicrographTable, shown
from napari_gempick.io.star import read_table
from napari_gempick.model.errors import Cancelled, GempickError, InputError, OutputError, SettingsError
from napari_gempick.model.geometry import Orientation
from napari_gempick.results.coordinate_files import Part, PartReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_gempick.extraction.settings import ExtractSettings
    from napari_gempick.io.images.micrograph import Micrograph
    from napari_gempick.model.picks import Picks

_CHUNK_BYTES = 16 * 2**20


class _Source:
    """A micrograph that the first thread to need it opens."""

    def __init__(self, part: Part, pixel_size: float | None) -> None:
        assert part.target is not None and part.target.path is not None
        self._listed = part.target.pixel_size
        known = pixel_size or (None if self._listed else part.known.pixel_size or part.found.common("pixel_size"))
        self._path, self._pixel_size, self._lock = part.target.path, known, threading.Lock()
        self._micrograph: Micrograph | None = None

    def open(self) -> Micrograph:
        with self._lock:
            if self._micrograph is None:
                self._micrograph = read_micrograph(self._path, self._pixel_size, listed=self._listed)
            return self._micrograph


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Particles of a part of a micrograph's picks, and what became of the others."""

    images: NDArray[np.float32]
    picks: Picks
    pixel_size: float
    outside: int
    at_edge: int
    dust: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Extraction:
    """What to extract.

    Attributes
    ----------
    micrographs : sequence of Path or str
        Files, folders, globs, or one STAR file, whose CTF columns and optics groups are then carried over.
    picks : Path
        Coordinates of any kind.
    output : Path
        The .mrcs file.
    ctf : Path or None
        A micrographs STAR file with CTF and optics, where `micrographs` is none.
    pixel_size : float or None
        Å, wins over headers.
    threads : int
        0: the cores that this process may use.
    shifts : bool
        Subtract the refined shifts of RELION's particles.
    """

    micrographs: Sequence[Path | str]
    picks: Path
    output: Path
    settings: ExtractSettings
    ctf: Path | None = None
    pixel_size: float | None = None
    threads: int = 0
    allow_unmatched: bool = False
    resume: bool = False
    overwrite: bool = False
    shifts: bool = True


def extract(
    what: Extraction,
    *,
    cancel: threading.Event | None = None,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> dict[str, Any]:
    """Write OUT.mrcs and OUT.star; return the report.

    The order is that of the coordinate files, and of the picks in each; the bytes do not depend on the number of
    threads, nor on interruptions.

    Returns
    -------
    dict
        particles, micrographs, picks, outside (centre not on the micrograph), at_edge (left out for their box),
        dust (pixels replaced), unmatched (names), failed (path and error), notes, output, star.

    Raises
    ------
    GempickError
        Nothing can be done; or the cancel event was set, and --resume continues later.
    """
    if what.resume and not what.overwrite and is_finished(what.output):
        return _finished(what)
    return _Extractor(what).run(cancel or threading.Event(), progress)


def _finished(what: Extraction) -> dict[str, Any]:
    """Return the report of an extraction that was already complete.

    Raises
    ------
    SettingsError
        The stack has boxes of another size.
    """
    shape = open_image(what.output).data.shape
    if shape[1:] != (what.settings.side, what.settings.side):
        raise SettingsError(
            f"{what.output} is complete, with boxes of {shape[2]} x {shape[1]} pixels and not of {what.settings.side}; "
            "add --overwrite to extract again.",
            what.output,
        )
    rows = read_table(what.output.with_suffix(".star"), "particles", ("rlnMicrographName",))
    counts = dict.fromkeys(("picks", "outside", "at_edge", "dust"), 0)
    return {
        **counts,
        "output": str(what.output),
        "star": str(what.output.with_suffix(".star")),
        "particles": shape[0],
        "micrographs": len(set(rows["rlnMicrographName"])),
        "picks": shape[0],
        "optics_groups": len(read_table(what.output.with_suffix(".star"), "optics").get("rlnOpticsGroup", ())),
        "unmatched": [],
        "failed": [],
        "notes": [f"{what.output} is already complete; nothing was done."],
    }


@dataclass(frozen=True, eq=False)
class _Piece:
    """A chunk on its way, and where it belongs; without a future the micrograph was done in an earlier run."""

    part: Part
    future: Future[_Chunk] | None
    first: bool = True
    last: bool = True


class _Extractor:
    def __init__(self, what: Extraction) -> None:
        self._what, self._settings = what, what.settings
        if what.output.suffix.lower() != ".mrcs":
            raise SettingsError(f"{what.output}: give the output a name that ends in .mrcs, as RELION requires.")
        options = ReadOptions(shifts=what.shifts)
        self._reader = PartReader(None, Orientation(), None, list(what.micrographs), None, options)
        assert self._reader.micrographs is not None
        self._given = self._reader.micrographs.all
        self._table = _table(what)
        self._threads = what.threads or usable_cores()
        self._rows = ParticleRows(what.settings, self._table, shown(what.output))
        self._unmatched: list[str] = []
        self._now: dict[str, Any] = {}

    def run(self, cancel: threading.Event, progress: Callable[[float, str], None]) -> dict[str, Any]:
        what, settings = self._what, self._settings
        plan = {
            "settings": settings.model_dump(mode="json"),
            "micrographs": [known.name for known in self._given],
            "picks": str(what.picks),
            "ctf": None if self._table is None else str(self._table.path),
            "pixel_size": what.pixel_size,
        }
        stack = ParticleStack(
            what.output, settings.side, settings.dtype, plan, resume=what.resume, overwrite=what.overwrite
        )
        for entry in stack.done:
            if entry["optics"]:
                self._rows.group(entry["optics"])
        try:
            self._stream(stack, cancel, progress)
            report = self._report(stack)
            if not stack.count:
                raise InputError(_nothing(report), what.picks)
            stack.finish(self._rows.labels, self._rows.data_optics(), self._rows.pixel_size)
        finally:
            stack.close()
        return report

    def _stream(self, stack: ParticleStack, cancel: threading.Event, progress: Callable[[float, str], None]) -> None:
        """Cut in threads, a few chunks ahead, and write in order."""
        finished = 0
        with ThreadPoolExecutor(self._threads) as pool:
            pending: deque[_Piece] = deque()
            pieces = self._pieces(pool, stack)
            while True:
                piece = next(pieces, None)
                if piece is not None:
                    pending.append(piece)
                while pending and (piece is None or len(pending) > self._threads + 2):
                    first = pending.popleft()
                    self._write(stack, first)
                    finished += first.last
                    progress(min(1.0, finished / max(1, len(self._given))), f"Extracting {finished + 1}")
                if piece is None:
                    return
                if cancel.is_set():
                    raise Cancelled("Stopped; --resume continues from here.")

    def _pieces(self, pool: ThreadPoolExecutor, stack: ParticleStack) -> Iterator[_Piece]:
        """Start cutting, in the order of the coordinate files and of the picks in each."""
        done, number = list(stack.done), 0
        per_chunk = max(1, _CHUNK_BYTES // (4 * self._settings.box**2))
        for part in self._reader.read([self._what.picks]):
            if part.target is None or part.target.path is None:
                self._unmatched.append(part.known.name)
                if not self._what.allow_unmatched:
                    raise SettingsError(
                        f"{part.file} has picks of {part.known.name}, which is not among the micrographs; give it too, "
                        "or add --allow-unmatched to leave it out."
                    )
                continue
            number += 1
            if number <= len(done):
                if done[number - 1]["digest"] != _digest(part):
                    raise SettingsError(
                        f"The picks of {part.target.name} are not those that the extraction began with; add "
                        "--overwrite to start again."
                    )
                yield _Piece(part, None)
                continue
            source, picks = _Source(part, self._what.pixel_size), part.found.picks
            starts = range(0, max(1, len(picks)), per_chunk)
            for start in starts:
                future = pool.submit(_extract, source, picks.take(slice(start, start + per_chunk)), self._settings)
                yield _Piece(part, future, start == starts[0], start == starts[-1])

    def _write(self, stack: ParticleStack, piece: _Piece) -> None:
        """Write a piece in its turn, and close the micrograph after its last one."""
        part, now = piece.part, self._now
        assert part.target is not None
        if piece.future is None:
            return
        if piece.first:
            now.clear()
            now.update(name=part.target.name, digest=_digest(part), picks=len(part.found.picks), error=None)
            now.update(optics=None, outside=0, at_edge=0, dust=0, notes=[])
            self._mark = stack.mark()
        try:
            chunk = piece.future.result()
            if now["error"] is None:
                if now["optics"] is None:
                    now["optics"] = self._rows.optics_of(part.target.parts, chunk.pixel_size)
                rows = (chunk.picks, part.target.name, part.target.parts, now["optics"], stack.count)
                stack.append(chunk.images, self._rows.columns(*rows))
                for what in ("outside", "at_edge", "dust"):
                    now[what] += getattr(chunk, what)
                now["notes"] = list(chunk.notes)
        except OutputError:
            raise
        except GempickError as error:
            now.update(error=error.sentence, outside=0, at_edge=0, dust=0)
            stack.back_to(self._mark)
        if piece.last:
            stack.finish_micrograph(dict(now))

    def _report(self, stack: ParticleStack) -> dict[str, Any]:
        done = stack.done
        failed = [{"path": one["name"], "error": one["error"]} for one in done if one["error"]]
        return {
            "output": str(stack.path),
            "star": str(stack.star),
            "particles": stack.count,
            "micrographs": sum(not one["error"] for one in done),
            "picks": sum(one["picks"] for one in done),
            **{what: sum(one[what] for one in done) for what in ("outside", "at_edge", "dust")},
            "optics_groups": self._rows.groups,
            "unmatched": self._unmatched,
            "failed": [*self._reader.failed, *failed],
            "notes": [
                *self._reader.notes,
                *(note for one in done for note in one.get("notes", ())),
                *self._rows.notes(),
            ],
        }


def _table(what: Extraction) -> MicrographTable | None:
    if what.ctf is not None:
        return MicrographTable(what.ctf)
    given = what.micrographs[0]
    if len(what.micrographs) == 1 and str(given).lower().endswith(".star"):
        return MicrographTable(Path(given))
    return None


def _extract(source: _Source, picks: Picks, settings: ExtractSettings) -> _Chunk:
    micrograph = source.open()
    image, pixel_size = micrograph.data, require_pixel_size(micrograph)
    shape = int(image.shape[0]), int(image.shape[1])
    if from_bottom(PARTICLES.name, micrograph.path):  # the stack is RELION's: its boxes, its coordinates, its psi
        image, picks = image[::-1], FLIP.apply(picks, shape)
    on_it = touches(picks.x, picks.y, shape)
    kept = on_it if settings.edge == "pad" else on_it & fits(picks.x, picks.y, settings.box, shape)
    outside, at_edge = int((~on_it).sum()), int((on_it & ~kept).sum())
    picks = picks.take(kept)
    boxes = cut(image, picks.x, picks.y, settings.box)
    if not np.isfinite(boxes).all():
        raise InputError(f"{micrograph.path} has NaN or infinite pixels in a particle; replace them.", micrograph.path)
    images, dust = finish(boxes, settings)
    largest = float(np.finfo(settings.dtype).max)
    if images.size and max(float(images.max()), -float(images.min())) > largest:
        raise InputError(
            f"{micrograph.path} has grey values beyond {largest:g}, which {settings.dtype} cannot hold; add "
            "--normalize, or use --dtype float32.",
            micrograph.path,
        )
    return _Chunk(images, picks, pixel_size, outside, at_edge, dust, micrograph.warnings)


def _digest(part: Part) -> str:
    picks = part.found.picks
    assert part.target is not None
    digest = blake2b(part.target.name.encode(), digest_size=16)
    for column in (picks.x, picks.y, picks.score, picks.section, picks.psi):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _nothing(report: dict[str, Any]) -> str:
    if report["failed"]:
        return str(report["failed"][0]["error"])
    return (
        f"No particle is left of {report['picks']} picks ({report['outside']} outside, {report['at_edge']} at the edge "
        "of their micrographs); check the picks and --box."
    )
