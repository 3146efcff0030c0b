"""A process that searches for a window: one JSON object per line in and out, so that the window's process stays idle.

`python -m napari_gempick.window_worker` reads requests on stdin and answers on stdout:

    {"run": 1, "settings": {...}, "micrographs": [{"name": ..., "path": ...}], "folder": ...}   search; see pick_files
    {..., "preview": true}                                        quick look; see preview_file
    {"run": 2, "extract": {...}}                                  particles; the values of extraction.extract.Extraction
    {"run": 3, "measure": {"gpu": false}, "settings": ..., "micrographs": ...}    for an estimate; see cluster
    {"run": 4, "export": {"folder": ..., "cluster": {...}, "root": ...}, "settings": ..., "micrographs": ...}    a job
    {"cancel": 1}                                                                                stop that run
    {"machine": true}                                                                            describe the devices

It ends when stdin does, so it never outlives the window.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from napari_gempick.model.errors import Cancelled, GempickError

if TYPE_CHECKING:
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.settings import PickSettings

NICE = 5
"""The window's own process goes first when all cores are busy."""


class WindowWorker:
    """Answers requests one after the other; only `cancel` is heard while a search runs.

    Parameters
    ----------
    answers : TextIO
        Gets a JSON object per line.
    """

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self._cancels: dict[int, threading.Event] = {}

    def serve(self, requests: TextIO) -> None:
        """Work until `requests` ends."""
        waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()

        def listen() -> None:
            for line in requests:
                request = json.loads(line)
                if "cancel" in request:
                    self._cancels.setdefault(int(request["cancel"]), threading.Event()).set()
                else:
                    waiting.put(request)
            for cancel in list(self._cancels.values()):
                cancel.set()
            waiting.put(None)

        threading.Thread(target=listen, daemon=True).start()
        while (request := waiting.get()) is not None:
            try:
                self._answer(request)
            except BrokenPipeError:  # the window is gone
                return

    def _say(self, **event: Any) -> None:
        with self._lock:
            self._answers.write(json.dumps(event) + "\n")
            self._answers.flush()

    def _answer(self, request: dict[str, Any]) -> None:
        if "machine" in request:
            from napari_gempick.device.discover import describe_machine

            self._say(event="machine", machine=describe_machine())
            return
        number = int(request["run"])
        try:
            kinds = {
                "preview": self._preview,
                "extract": self._extract,
                "measure": self._measure,
                "export": self._export,
            }
            work = next((kinds[name] for name in kinds if request.get(name)), self._run)
            state = work(number, request)
        except Cancelled:
            self._say(run=number, event="done", state="stopped")
        except GempickError as error:
            self._say(run=number, event="failed", sentence=error.sentence)
        except BrokenPipeError:
            raise
        except Exception as error:
            traceback.print_exc()
            self._say(run=number, event="failed", sentence=f"The search stopped on an error of the program: {error!r}.")
        else:
            self._say(run=number, event="done", state=state)

    def _preview(self, number: int, request: dict[str, Any]) -> str:
        """Write what a quick look has found so far as candidates, again and again, on the grid of the file."""
        from napari_gempick.inputs.bank_maker import BankMaker
        from napari_gempick.inputs.views import read_views
        from napari_gempick.io.candidates import Candidates, write_candidates
        from napari_gempick.results.thresholds import candidate_floor
        from napari_gempick.workflows.preview import Preview, preview_file

        settings, (micrograph,) = _what(request)
        self._say(run=number, event="stage", text="reading templates")
        diameter = BankMaker(settings, read_views(settings)).diameter
        path = Path(request["folder"]) / "preview" / f"{micrograph.output_stem}.star"

        def shown(stage: Preview) -> None:
            grid, names = stage.scores.grid, stage.scores.bank.view_names
            picks = replace(
                stage.picks,
                map_x=np.rint(stage.picks.x).astype(np.int32),
                map_y=np.rint(stage.picks.y).astype(np.int32),
            )
            size, shape = grid.pixel_size, grid.file_shape
            write_candidates(path, Candidates(picks, names, shape, shape, size, size, candidate_floor(settings, names)))
            share = stage.refined / max(1, stage.candidates)
            for note in stage.notes if stage.refined == 0 else ():
                self._say(run=number, event="said", sentence=note)
            self._say(run=number, event="progress", finished=0, total=1, share=share)
            self._say(run=number, event="preview", name=micrograph.output_stem, file=str(path), diameter=diameter)

        self._say(run=number, event="stage", text="coarse search")
        cancel = self._cancels.setdefault(number, threading.Event())
        preview_file(micrograph.path, settings, listed=micrograph.pixel_size, cancel=cancel, shown=shown)
        return "complete"

    def _extract(self, number: int, request: dict[str, Any]) -> str:
        from napari_gempick.extraction.extract import Extraction, extract
        from napari_gempick.extraction.settings import make_extract_settings

        given = dict(request["extract"])
        given["settings"] = make_extract_settings(given["settings"])
        paths = {name: Path(given[name]) for name in ("picks", "output", "ctf") if given.get(name) is not None}
        report = extract(
            Extraction(**{**given, **paths}),
            cancel=self._cancels.setdefault(number, threading.Event()),
            progress=lambda share, text: self._say(run=number, event="progress", share=share, text=text),
        )
        self._say(run=number, event="result", result=report)
        return "complete"

    def _measure(self, number: int, request: dict[str, Any]) -> str:
        from napari_gempick.cluster.estimate import measure_job
        from napari_gempick.cluster.export import input_bytes_of
        from napari_gempick.device.plan import PlanStore
        from napari_gempick.inputs.bank_maker import BankMaker
        from napari_gempick.inputs.views import read_views

        settings, micrographs = _what(request)
        makers = BankMaker(settings, read_views(settings), self._cancels.setdefault(number, threading.Event()))
        made = measure_job(settings, micrographs, PlanStore(), makers, gpu=bool(request["measure"]["gpu"]))
        result = {"measured": asdict(made), "views": len(makers.views), "input_bytes": input_bytes_of(settings)}
        self._say(run=number, event="result", result=result)
        return "complete"

    def _export(self, number: int, request: dict[str, Any]) -> str:
        from napari_gempick.cluster.export import export_job
        from napari_gempick.cluster.settings import make_cluster

        settings, micrographs = _what(request)
        given = request["export"]
        more = {name: given.get(name) for name in ("root", "cluster_root")}
        more["cancel"] = self._cancels.setdefault(number, threading.Event())
        made = export_job(settings, micrographs, given["folder"], make_cluster(given["cluster"]), **more)
        self._say(run=number, event="result", result=str(made.job.folder))
        return "complete"

    def _run(self, number: int, request: dict[str, Any]) -> str:
        from napari_gempick.workflows.pick import pick_files

        settings, micrographs = _what(request)
        folder = Path(request["folder"])

        def notify(sentence: str) -> None:
            if sentence not in _about_files(folder):
                self._say(run=number, event="said", sentence=sentence)

        run = pick_files(
            settings,
            micrographs,
            folder,
            overwrite=True,
            keep_others=True,
            cancel=self._cancels.setdefault(number, threading.Event()),
            progress=lambda p: self._say(
                run=number, event="progress", finished=p.finished, total=p.total, share=p.share
            ),
            notify=notify,
            stage=lambda text: self._say(run=number, event="stage", text=text),
            finished=lambda row: self._say(run=number, event="micrograph", row=row),
        )
        return str(run["state"])


def _what(request: dict[str, Any]) -> tuple[PickSettings, list[MicrographFile]]:
    from napari_gempick.model.settings import make_settings
    from napari_gempick.results.run_file import micrograph_of

    return make_settings(request["settings"]), [micrograph_of(row) for row in request["micrographs"]]


def _about_files(folder: Path) -> list[str]:
    """Return what a run says of the picks in its own files, which are not those that the window shows and exports."""
    from napari_gempick.results.run_file import read_run, run_notes

    try:
        return run_notes(read_run(folder))
    except GempickError:  # there is none yet
        return []


def main() -> None:
    """Serve stdin; whatever libraries print goes to stderr."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    import napari_gempick.workflows.pick  # noqa: F401  the first run need not wait for the libraries

    WindowWorker(answers).serve(sys.stdin)


if __name__ == "__main__":
    main()
