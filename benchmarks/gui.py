"""How fast the window answers: sliders, stalls of its event loop during a search, cancel, next, many micrographs.

`make bench-gui` runs it on a screen of its own. Real micrographs are used where they are at hand (GEMPICK_TEST_DATA, or
shared/data beside the repository), the simulated sample otherwise.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_gempick.io.candidates import Candidates
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.picks import Picks
from napari_gempick.model.score_maps import BankIndex
from napari_gempick.widgets.app.dock import open_dock
from napari_gempick.widgets.npe2.contributions import sample_files
from napari_gempick.widgets.state import loading
from napari_gempick.widgets.state.candidate_selection import CandidateSelection
from napari_gempick.widgets.state.loading import Loaded

N, SIDE, PIXEL, DIAMETER = 10_000, 4096, 1.77, 190.0
MOVES, MANY = 60, 2000


def spin(seconds: float = 0.0, until=lambda: False, limit: float = 300.0) -> float:
    """Run the event loop for a time, or until something is so; returns the seconds."""
    start = time.perf_counter()
    while not until() and (time.perf_counter() - start < (seconds or limit)):
        QApplication.processEvents()
        time.sleep(0.001)
    return time.perf_counter() - start


def fake_candidates() -> Candidates:
    """Ten thousand local maxima of noise, and some hundred particles."""
    random = np.random.default_rng(0)
    y, x = random.integers(0, SIDE, (2, N)).astype(np.int32)
    score = np.concatenate([random.beta(60, 20, 600), random.beta(4, 20, N - 600)])
    score = np.sort(score.astype(np.float32))[::-1]
    view = random.integers(0, 2, N).astype(np.int32)
    picks = Picks(x * 1.0, y * 1.0, x, y, score, np.zeros(N, np.int32), view, view, np.zeros(N))
    return Candidates(picks, ("side", "top"), (SIDE, SIDE), (SIDE, SIDE), PIXEL, PIXEL, 0.1)


def report(what: str, seconds: list[float], most: float) -> None:
    """Print the least, the median, the 95 % quantile and the largest of some times."""
    least, median, high, largest = np.percentile(seconds, (0, 50, 95, 100)) * 1e3
    print(
        f"{what:<46} least {least:6.1f} ms   median {median:6.1f} ms   p95 {high:6.1f} ms   most {largest:6.1f} ms"
        f"   (goal {most:g})"
    )


def sliders(dock) -> None:
    """Time from the move of a slider to the points of the layer."""
    controller = dock.controller
    image = np.random.default_rng(1).integers(-100, 100, (SIDE, SIDE)).astype(np.int8)
    real = controller.loaded
    controller.loaded = Loaded(
        controller.stem, image, PIXEL, "given", contrast=(-90.0, 90.0), extremes=(-100.0, 100.0),
        selection=CandidateSelection(fake_candidates(), DIAMETER), bank=BankIndex(("side", "top"), (1, 1), 4.0, 360.0),
    )  # fmt: skip
    controller.loaded_changed.emit()
    controller.choose()
    spin(1.0)
    points = dock.layers.layer("Picks")

    def moves(slider, values) -> tuple[list[float], list[float], list[int]]:
        times, drawn, counts = [], [], []
        for value in values:
            start = time.perf_counter()
            slider.setValue(value)
            times.append(time.perf_counter() - start)
            assert len(points.data) == len(controller.choice)
            QApplication.processEvents()
            drawn.append(time.perf_counter() - start)
            counts.append(len(points.data))
        return times, drawn, counts

    for view in ("", "side"):
        slider = dock.tune.sliders[view].slider
        times, drawn, counts = moves(slider, 0.5 + 0.3 * np.sin(np.linspace(0, 6, MOVES)))
        label = f"threshold of {view or 'all views'}, {min(counts)} to {max(counts)} picks"
        report(label, times, 16)
        report("  the same, painted on this screen", drawn, np.inf)
    controller.set_threshold(None, 0.4)
    times, drawn, counts = moves(dock.tune.fields["min_distance"].native, np.linspace(60, 300, 25))
    report(f"minimum distance, {min(counts)} to {max(counts)} picks", times, 100)
    controller.set_tune(min_distance=None)
    controller.loaded = real
    controller.loaded_changed.emit()


class Ticks:
    """A timer of 10 ms in the window, and how late it comes."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(10)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(now - self._last)
        self._last = now

    def report(self, what: str) -> None:
        self._timer.stop()
        p99 = np.percentile(self.gaps, 99) * 1e3
        print(f"{what:<46} p99 {p99:6.1f} ms   most {max(self.gaps) * 1e3:6.1f} ms   (goals 100 and 500)")


def micrographs(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """Copy the micrographs to a folder that may be written to; return them and the templates."""
    given = os.environ.get("GEMPICK_TEST_DATA")
    klh = (Path(given) if given else Path(__file__).parents[2] / "shared" / "data") / "klh"
    if klh.exists():
        files = [klh / "klh_001.mrc", klh / "klh_002.mrc"]
        templates = {view: klh / f"klh_{view}_average_4.4A.mrc" for view in ("side", "top")}
    else:
        made = sample_files()
        files, templates = list(made.micrographs), made.templates
    return [Path(shutil.copy(file, folder)) for file in files], templates


def add_files(dock, folder: Path) -> list[Path]:
    """Add micrographs and templates."""
    controller = dock.controller
    files, templates = micrographs(folder)
    controller.add_micrographs(files)
    spin(until=lambda: controller.loaded is not None and controller.loaded.stem == files[0].stem)
    for view, path in templates.items():
        controller.add_view(view, [str(path)])
    spin(until=lambda: dock.searches.machine is not None)
    spin(1.0)
    return files


def searches(dock, files: list[Path]) -> None:
    """Stalls, cancel, a search from Run to layers, and the way from one micrograph to the next."""
    controller, runs = dock.controller, dock.searches
    for number, what in enumerate(("first search (plans the FFTs)", "second search")):
        ticks = Ticks()
        start = time.perf_counter()
        runs.run_this()
        spin(until=lambda: runs.run is None)
        spin(until=lambda: dock.layers.layer("NCC") is not None)
        spin(until=lambda: controller.choice is not None)
        seconds = time.perf_counter() - start
        print(f"{what + ', Run to layers':<46} {seconds:6.1f} s   ({files[0].name}, 180 rotated templates)")
        ticks.report("  event loop meanwhile")
        if number == 0:
            dock.viewer.layers.clear()
    controller.set_value("angle_step", 2.0)
    times = []
    for wait in (0.3, 1.5, 3.0):
        runs.run_this()
        spin(wait)
        runs.cancel()
        times.append(spin(until=lambda: runs.run is None))
        spin(0.3)
    report("cancel", times, 1000)
    controller.set_value("angle_step", 4.0)
    controller.set_value("lowpass", 20.0)
    runs.run_all()
    spin(until=lambda: runs.run is None)
    spin(1.0)
    times = []
    for step in (1, -1) * 5:
        controller.go(controller.current + step)
        times.append(spin(until=lambda: controller.loaded.stem == controller.stem and controller.choice is not None))
    report("next and previous micrograph", times, 300)


def many_micrographs(dock, files: list[Path]) -> None:
    """The same with 2,000 micrographs in the list, all searched: copies of those that were, without their maps."""
    controller, folder = dock.controller, dock.controller.folder.path
    listed, made = files[0].parent / "many", {}
    for number in range(MANY):
        file = files[number % len(files)]
        copy = listed / f"m{number:04}{file.suffix}"
        candidates = folder / "candidates" / f"{file.stem}.star"
        for source, target in ((file, copy), (candidates, candidates.with_name(f"{copy.stem}.star"))):
            target.parent.mkdir(exist_ok=True)
            os.link(source, target)
        result = controller.results[file.stem]
        made[copy.stem] = replace(result, row={**result.row, "name": copy.stem}, maps=False)
    controller.results.update(made)
    start = time.perf_counter()
    controller.do("list many", replace(controller.state, files=tuple(find_micrographs([listed]))))
    spin(
        until=lambda: not dock.counter.busy and controller.choice is not None, limit=3600
    )  # or the rest counts as read again
    in_memory = sum(file.output_stem in controller.selections for file in controller.state.files)
    words = f"{MANY} micrographs read and counted"
    print(f"{words:<46} {time.perf_counter() - start:6.1f} s   {in_memory} kept in memory")
    reads, read = [], loading.read_candidates
    loading.read_candidates = lambda path: reads.append(path) or read(path)
    slider = dock.tune.sliders[""].slider
    for what in ("", ", wall open"):
        if what:
            dock.wall.show()
            spin(until=lambda: len(dock.wall.widget.marks) == 6)
        times, drawn = [], []
        for value in 0.45 + 0.2 * np.sin(np.linspace(0, 6, MOVES)):
            start = time.perf_counter()
            slider.setValue(value)
            times.append(time.perf_counter() - start)
            QApplication.processEvents()
            drawn.append(time.perf_counter() - start)
            spin(0.016)
        report(f"threshold with {MANY} micrographs{what}", times, 33)
        report("  the same, painted on this screen", drawn, np.inf)
        seconds = spin(until=lambda: not dock.counter.busy)
        print(f"{'  until all picks are counted':<46} {seconds:6.1f} s   {len(reads)} files read again (goal 0)")
    for what, rest in (("", 0.5), (", key held down", 0.0)):  # without a rest the picture before is still being painted
        times = []
        for step in (1, 1, -1) * 5:
            controller.go(controller.current + step)
            times.append(
                spin(until=lambda: controller.loaded.stem == controller.stem and controller.choice is not None)
            )
            if rest:
                spin(rest)
        report(f"next and previous of {MANY}{what}", times, 100 if rest else np.inf)
    loading.read_candidates = read


def in_threads(dock) -> None:
    """The same stalls with the search in threads of the window's process: why it is a process of its own."""
    from napari_gempick import PickSettings, pick, read_stack
    from napari_gempick.io.images.micrograph import read_micrograph

    state, file = dock.controller.state, dock.controller.state.files[0]
    micrograph = read_micrograph(file.path)
    templates = {view.name: read_stack(view.files[0]).data for view in state.views}
    size = read_stack(state.views[0].files[0]).pixel_size
    settings = PickSettings(pixel_size=micrograph.pixel_size, template_pixel_size=size, angle_step=8.0, decoys=False)
    thread = threading.Thread(target=lambda: pick(micrograph.data, templates, settings))
    ticks = Ticks()
    thread.start()
    spin(until=lambda: not thread.is_alive())
    ticks.report("event loop, search in threads instead")


def main() -> None:
    """Measure."""
    viewer = napari.Viewer()
    viewer.window.resize(1280, 800)
    print(f"napari {napari.__version__}, {os.cpu_count()} cores, {N} candidates")
    dock = open_dock(viewer)
    spin(1.0)
    with tempfile.TemporaryDirectory() as name:
        files = add_files(dock, Path(name))
        sliders(dock)
        searches(dock, files)
        many_micrographs(dock, files)
        if "--threads" in sys.argv:
            in_threads(dock)
        dock.shut()
        viewer.close()


if __name__ == "__main__":
    main()
