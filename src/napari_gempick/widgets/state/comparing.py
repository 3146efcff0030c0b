"""The shown picks beside other sets or a truth: which picks both have, and which only one has. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_gempick.evaluation.compare import PickSet, compare_seen, counts, read_set
from napari_gempick.evaluation.matching import Particles
from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.state.candidate_selection import picks_of
from napari_gempick.widgets.state.exporting import picks_by_micrograph

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.evaluation.matching import Matching
    from napari_gempick.model.picks import Picks
    from napari_gempick.widgets.state.controller import Controller

UNSEARCHED = 40.0
"""px: half of it is the tolerance while the size of particles is unknown."""


@dataclass(frozen=True)
class Tolerance:
    """How far two picks of one particle may lie apart; None: half the particle's diameter."""

    value: float | None = None
    unit: str = "Å"


class Comparison:
    """Compares the picks of the current micrograph with every set, and follows the thresholds."""

    changed = Signal()
    totals_changed = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.sets: dict[str, PickSet] = {}
        self._by_micrograph: dict[str, dict[str, Particles]] = {}
        self._alone: dict[str, str] = {}
        self.shown: str | None = None
        self.drawn = True
        self.tolerance = Tolerance()
        self.matchings: dict[str, Matching] = {}
        self.totals: dict[str, dict[str, Any]] = {}
        self._busy = self._again = False
        self._generation = 0
        controller.choice_changed.connect(self.compare)
        controller.current_changed.connect(self._forget)
        controller.state_changed.connect(self._state_changed)

    # sets

    def load(self, path: Path) -> None:
        """Read a set of picks or a truth and compare with it."""
        self._controller.background.do(lambda: read_set(path), self._add)

    def _add(self, found: PickSet) -> None:
        controller, stem = self._controller, found.path.name.removesuffix(".star")
        name = stem
        while name in self.sets and self.sets[name].path != found.path:
            name = f"{name} (2)"
        files = controller.state.files
        try:
            there = found.by_micrograph(files, controller.stem)
        except GempickError as error:
            controller.notified.emit(error.sentence, "error")
            return
        if not there:
            names = ", ".join(sorted(entry.name for entry in found.entries)[:3])
            controller.notified.emit(
                f"{found.path} has picks of {names}, and no micrograph of the list is called so; rename the files or "
                "add these micrographs.",
                "error",
            )
            return
        self.sets[name] = found
        if controller.stem is not None and list(there) == [controller.stem]:
            self._alone[name] = controller.stem
        self._by_micrograph[name] = there
        self.shown, self.drawn = name, True
        self.compare()

    def remove(self, name: str) -> None:
        """Compare with this set no longer."""
        for known in (self.sets, self._by_micrograph, self._alone, self.matchings, self.totals):
            known.pop(name, None)
        if self.shown == name:
            self.shown = next(iter(self.sets), None)
        self.changed.emit()
        self.totals_changed.emit()

    def show(self, name: str) -> None:
        """Draw the comparison with this set."""
        if name in self.sets:
            self.shown, self.drawn = name, True
            self.changed.emit()

    def draw(self, on: bool) -> None:
        """Draw it, or keep only the numbers."""
        if on != self.drawn:
            self.drawn = on
            self.changed.emit()

    def set_tolerance(self, value: float | None, unit: str) -> None:
        """Change how far two picks of one particle may lie apart."""
        self.tolerance = Tolerance(value, unit)
        self.compare()

    # lengths

    def diameter_px(self) -> float:
        """Return the particle's diameter in pixels of the file."""
        loaded, typed = self._controller.loaded, self._controller.state.values.get("diameter")
        if loaded is not None and loaded.selection is not None:
            return loaded.selection.diameter / loaded.selection.candidates.pixel_size
        if loaded is not None and loaded.pixel_size and typed:
            return float(typed) / loaded.pixel_size
        return UNSEARCHED

    def tolerance_px(self) -> float:
        """Return the tolerance in pixels of the file."""
        value, loaded = self.tolerance.value, self._controller.loaded
        if value is None:
            return self.diameter_px() / 2
        if self.tolerance.unit == "Å" and loaded is not None and loaded.pixel_size:
            return value / loaded.pixel_size
        return value

    def automatic_tolerance(self) -> str:
        """Return the tolerance where none is typed, in the chosen unit if the pixel size is known."""
        pixels, loaded = self.diameter_px() / 2, self._controller.loaded
        if self.tolerance.unit == "Å" and loaded is not None and loaded.pixel_size:
            return f"{pixels * loaded.pixel_size:.0f} Å"
        return f"{pixels:.0f} px"

    # work

    def _forget(self) -> None:
        """Drop the comparison of another micrograph."""
        if self.matchings:
            self.matchings = {}
            self.changed.emit()

    def _state_changed(self, state: Any, before: Any) -> None:
        if self.sets and state.files != before.files:
            for name, found in self.sets.items():
                try:
                    self._by_micrograph[name] = found.by_micrograph(state.files, self._alone.get(name))
                except GempickError as error:
                    self._controller.notified.emit(error.sentence, "error")
            self.compare()

    def compare(self) -> None:
        """Compare anew, on a thread; what changes meanwhile is compared afterwards."""
        if not self.sets:
            return
        self._generation += 1
        if self._busy:
            self._again = True
            return
        controller = self._controller
        stem, seen, tolerance = controller.stem, self.seen(), self.tolerance_px()
        if stem is None or seen is None:
            return
        nothing = Particles.at([], [])
        there = {name: known.get(stem, nothing) for name, known in self._by_micrograph.items()}
        self._busy, self._again = True, False

        def work() -> dict[str, Matching]:
            return {name: compare_seen(seen, particles, tolerance) for name, particles in there.items()}

        controller.background.do(work, lambda made: self._take(stem, made), lambda: self._take(stem, {}))

    def _take(self, stem: str, made: dict[str, Matching]) -> None:
        self._busy = False
        if stem == self._controller.stem:
            self.matchings = {name: matching for name, matching in made.items() if name in self.sets}
            self.changed.emit()
        if self._again:
            self.compare()
        else:
            self._sum_up()

    def seen(self) -> Particles | None:
        """Return the picks of the current micrograph; None while it is being read."""
        controller = self._controller
        loaded, choice = controller.loaded, controller.choice
        if loaded is None or loaded.stem != controller.stem:
            return None
        if loaded.selection is not None and choice is not None:
            return particles_of(loaded.selection.result(choice), loaded.selection.candidates.view_names)
        names = controller.view_names() or ("",)
        return particles_of(picks_of(controller.edits().added, names), names)

    def _sum_up(self) -> None:
        """Compare every micrograph that both sets cover, on a thread; given up when something changes."""
        controller, generation = self._controller, self._generation
        if controller.folder is None or len(controller.state.files) < 2:
            self.totals = {}
            self.totals_changed.emit()
            return
        state, results, folder = controller.state, dict(controller.results), controller.folder.path
        known, pixels, tolerance = dict(self._by_micrograph), self.tolerance_px(), self.tolerance

        def work() -> dict[str, dict[str, Any]] | None:
            found: dict[str, list[Matching]] = {name: [] for name in known}
            try:
                for chosen in picks_by_micrograph(state, results, folder, state.files, controller.selections):
                    if generation != self._generation:
                        return None
                    if isinstance(chosen, str):
                        continue
                    seen = particles_of(chosen.picks, chosen.view_names)
                    is_length = tolerance.value is not None and tolerance.unit == "Å"
                    limit = tolerance.value / chosen.pixel_size if is_length else pixels
                    for name, micrographs in known.items():
                        there = micrographs.get(chosen.file.output_stem)
                        if there is not None:
                            found[name].append(compare_seen(seen, there, limit))
            except GempickError:  # settings that contradict themselves; reported when they are used
                return None
            return {name: {"micrographs": len(some), **counts(some)} for name, some in found.items() if some}

        def take(made: dict[str, dict[str, Any]] | None) -> None:
            if made is not None and generation == self._generation:
                self.totals = made
                self.totals_changed.emit()

        controller.background.do(work, take)


def particles_of(picks: Picks, view_names: tuple[str, ...]) -> Particles:
    """Return picks as they are compared."""
    views = [view_names[view] if 0 <= view < len(view_names) else "" for view in picks.view.tolist()]
    return Particles.at(picks.x, picks.y, score=picks.score, view=views or None, psi=picks.psi)
