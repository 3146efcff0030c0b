"""What the person decides: views, settings, thresholds and corrections, each a step of history. No Qt, no napari."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_gempick.io.names import is_below
from napari_gempick.model.settings import LEARNED
from napari_gempick.model.values import AUTO
from napari_gempick.widgets.state.look import VIEW_COLOURS, counted
from napari_gempick.widgets.state.state import Added, Edits, History, State, Tune, ViewSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.state.candidate_selection import Choice
    from napari_gempick.widgets.state.loading import Loaded
    from napari_gempick.widgets.state.masks import Mask


class Decisions:
    """The state of the window and the actions that change it.

    Attributes
    ----------
    current : int or None
        The micrograph that is shown, a number in the list.
    loaded : Loaded or None
        What is known of it.
    choice : Choice or None
        Its picks.
    only_current : bool
        Thresholds are changed only for it.
    """

    state_changed = Signal(State, State)
    choice_changed = Signal()
    notified = Signal(str, str)

    def __init__(self) -> None:
        self.history = History(State())
        self.current: int | None = None
        self.loaded: Loaded | None = None
        self.choice: Choice | None = None
        self.only_current = False

    # state and history

    @property
    def state(self) -> State:
        """What the person decided so far."""
        return self.history.state

    def do(self, what: str, state: State, gesture: str | None = None) -> None:
        """Take a new state as one step of history; `gesture` joins the changes of one drag."""
        before = self.state
        if self.history.do(what, state, gesture):
            self._on_state_changed(before)

    def amend(self, state: State) -> None:
        """Take what follows from the last step into it."""
        before = self.state
        if state != before:
            self.history.amend(state)
            self._on_state_changed(before)

    def undo(self) -> str:
        """Undo the last action; return its name."""
        before = self.state
        what = self.history.undo()
        self._on_state_changed(before)
        return what

    def redo(self) -> str:
        """Redo the action that was undone last; return its name."""
        before = self.state
        what = self.history.redo()
        self._on_state_changed(before)
        return what

    def _on_state_changed(self, before: State) -> None:
        """Tell everybody that the state has changed."""
        self.state_changed.emit(self.state, before)

    @property
    def file(self) -> MicrographFile | None:
        """The current micrograph."""
        return None if self.current is None else self.state.files[self.current]

    @property
    def stem(self) -> str | None:
        """What the names of the current micrograph's results begin with."""
        return None if self.file is None else self.file.output_stem

    def reject_micrographs(self, stems: Sequence[str], rejected: bool) -> None:
        """Leave micrographs out of searches, export and jobs, or include them again."""
        now = self.state.rejected | set(stems) if rejected else self.state.rejected - set(stems)
        words = f"{'reject' if rejected else 'keep'} {counted(len(stems), 'micrograph')}"
        self.do(words, replace(self.state, rejected=now))

    # templates

    def add_view(self, name: str, files: Sequence[str], mask: str = AUTO) -> None:
        """Add template files as a view under a mask, or to the view of that name."""
        if not self.accepts_name(name):
            return
        views = list(self.state.views)
        same = [i for i, view in enumerate(views) if view.name == name]
        if same:
            view = views[same[0]]
            views[same[0]] = replace(view, files=(*view.files, *(file for file in files if file not in view.files)))
        else:
            used = {view.colour for view in views}
            colour = next((c for c in VIEW_COLOURS if c not in used), VIEW_COLOURS[len(views) % len(VIEW_COLOURS)])
            views.append(ViewSpec(name, tuple(files), mask, colour))
        self.do(f"add templates {name}", replace(self.state, views=tuple(views)))

    def accepts_name(self, name: str) -> bool:
        """Return whether a view can have a name, which files are called after; otherwise report why not."""
        accepted = is_below(name) and not any(mark in name for mark in "=/\\")
        if not accepted:
            self.notified.emit(
                f"A view cannot be called {name!r}; give a name without = / \\ and not only dots.", "error"
            )
        return accepted

    def change_view(self, name: str, /, **changes: Any) -> None:
        """Change the mask, the colour or the name of a view; results under its old name keep their thresholds."""
        new = changes.get("name", name)
        if new != name:
            if not self.accepts_name(new):
                return
            if new in [view.name for view in self.state.views]:
                self.notified.emit(f"Another view is already called {new!r}. Choose another name.", "error")
                return
        views = tuple(replace(v, **changes) if v.name == name else v for v in self.state.views)
        state = replace(self.state, views=views)
        if new != name:
            overrides = {stem: _with_threshold_of(tune, name, new) for stem, tune in state.overrides.items()}
            aside = {
                score: {stem: _also_as(new, name, known) for stem, known in thresholds.items()}
                for score, thresholds in state.aside.items()
            }
            tune = _with_threshold_of(state.tune, name, new)
            state = replace(state, tune=tune, overrides=overrides, aside=aside)
        self.do(f"change templates {name}", state)

    def remove_view(self, name: str) -> None:
        """Remove a view from the search; its files stay."""
        views = tuple(view for view in self.state.views if view.name != name)
        self.do(f"remove templates {name}", replace(self.state, views=views))

    def view_names(self) -> tuple[str, ...]:
        """Return the views of the shown micrograph's search, or else of the templates."""
        if self.loaded is not None and self.loaded.selection is not None:
            return self.loaded.selection.candidates.view_names
        return tuple(view.name for view in self.state.views)

    def colour(self, view: str) -> str:
        """Return the colour of a view."""
        for spec in self.state.views:
            if spec.name == view:
                return spec.colour
        names = self.view_names()
        return VIEW_COLOURS[(names.index(view) if view in names else 0) % len(VIEW_COLOURS)]

    # settings of the search

    def set_value(self, name: str, value: Any) -> None:
        """Change a setting of the search; None takes its default."""
        values = {key: old for key, old in self.state.values.items() if key != name}
        if value is not None:
            values[name] = value
        state = self.state.with_values(values)
        gesture = f"value {name}" if state.score == self.state.score else None  # each score brings its thresholds
        self.do(f"change {name.replace('_', ' ')}", state, gesture)

    def set_teach(self, teach: bool) -> None:
        """Let corrections teach the score, which is learned then, or the decoys only."""
        values = {**self.state.values, "score": LEARNED} if teach else self.state.values
        words = "learn from corrections" if teach else "learn from decoys only"
        self.do(words, replace(self.state.with_values(values), teach=teach))

    # picks

    @property
    def scope(self) -> str | None:
        """Whose thresholds are changed: the current micrograph's, or those of all (None)."""
        return self.stem if self.only_current else None

    def tune(self) -> Tune:
        """Return what holds for the current micrograph."""
        return self.state.tune_of(self.stem)

    def set_scope(self, only_current: bool) -> None:
        """Choose whose thresholds are changed; going back to all drops the current micrograph's own."""
        self.only_current = only_current
        if not only_current and self.stem in self.state.overrides:
            left = {stem: tune for stem, tune in self.state.overrides.items() if stem != self.stem}
            self.do("use the thresholds of all", replace(self.state, overrides=left))

    def set_threshold(self, view: str | None, value: float, gesture: str | None = None) -> None:
        """Change the threshold of a view, or of all views (None)."""
        names = self.view_names() if view is None else (view,)
        thresholds = {**self._base().thresholds, **dict.fromkeys(names, round(float(np.clip(value, -1, 1)), 4))}
        self.do("change the threshold", self.state.with_tune(self._scope(), thresholds=thresholds, fdr=None), gesture)

    def set_thresholds(self, values: Mapping[str, float], fdr: float | None = None, *, follow: bool = False) -> None:
        """Change the thresholds of several views in one step, or as what follows from the last one.

        With `fdr` they are kept at this share of false picks from now on.
        """
        thresholds = {**self._base().thresholds, **values}
        state = self.state.with_tune(self._scope(), thresholds=thresholds, fdr=fdr)
        if follow:
            self.amend(state)
        else:
            self.do("choose the thresholds", state, None if fdr is None else "rate of false picks")

    def set_first_thresholds(self, values: Mapping[str, float]) -> None:
        """Begin with these thresholds on all micrographs that have none of this score yet, as part of the last step."""
        self.amend(self.state.with_first_thresholds(values))

    def set_tune(self, gesture: str | None = None, **changes: Any) -> None:
        """Change minimum distance, border, upper threshold, number of picks, or local limits."""
        what = " and ".join(name.replace("_", " ") for name in changes)
        self.do(f"change {what}", self.state.with_tune(self._scope(), **changes), gesture)

    def _scope(self) -> str | None:
        """Return the scope; a micrograph with thresholds of its own keeps them its own."""
        return self.stem if self.stem in self.state.overrides else self.scope

    def _base(self) -> Tune:
        return self.state.tune_of(self._scope())

    def choose(self) -> None:
        """Choose the picks of the current micrograph again."""
        if self.loaded is not None and not self.is_shown:
            return  # chosen when it is there
        selection = None if self.loaded is None else self.loaded.selection
        self.choice = None if selection is None else selection.choose(self.tune(), self.edits())
        self.choice_changed.emit()

    @property
    def is_shown(self) -> bool:
        """Whether what is on the screen is the current micrograph, which may still be on its way."""
        return self.loaded is not None and self.loaded.stem == self.stem

    def edits(self) -> Edits:
        """Return the corrections of the current micrograph."""
        return self.state.edits.get(self.stem or "", Edits())

    def reject(self, positions: Sequence[tuple[float, float]], gesture: str | None = None) -> None:
        """Reject the picks at these positions (x, y), pixels of the file; added ones are removed."""
        if self.stem is None or not len(positions) or not self.is_shown:
            return
        edits = self.edits()
        made = {(added.x, added.y) for added in edits.added}
        own = {(float(x), float(y)) for x, y in positions}
        edits = Edits((*edits.rejected, *sorted(own - made)), tuple(a for a in edits.added if (a.x, a.y) not in own))
        words = "a pick" if len(own) == 1 else f"{len(own)} picks"
        self.do(f"reject {words}", self.state.with_edits(self.stem, edits), gesture)

    def add_pick(self, x: float, y: float, view: str = "") -> None:
        """Add a pick at (x, y), pixels of the file; score, view and psi are those of the maps or candidates there.

        Picks nearer than the minimum distance give way, found ones and added ones.
        """
        if self.stem is None or self.loaded is None or self.loaded.image is None or not self.is_shown:
            return
        ny, nx = self.loaded.image.shape
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            self.notified.emit("A pick must lie on the micrograph.", "info")
            return
        edits, apart = self.edits(), self._apart()
        kept = tuple(added for added in edits.added if math.dist((added.x, added.y), (x, y)) >= apart)
        edits = replace(edits, added=(*kept, self._described(float(x), float(y), view)))
        self.do("add a pick", self.state.with_edits(self.stem, edits))

    def exclude(self, mask: Mask) -> None:
        """Take an excluded area of the current micrograph that was edited by hand."""
        if self.stem is not None and self.is_shown:
            masks = {**self.state.masks, self.stem: mask}
            self.do("edit the excluded area", replace(self.state, masks=masks))

    def judge(self, stem: str, pick: Added, good: bool) -> None:
        """Call a candidate of any micrograph a particle, or reject it."""
        edits, place = self.state.edits.get(stem, Edits()), (pick.x, pick.y)
        rejected = tuple(other for other in edits.rejected if other != place)
        added = tuple(other for other in edits.added if (other.x, other.y) != place)
        edits = Edits(rejected, (*added, pick)) if good else Edits((*rejected, place), added)
        self.do(f"call a candidate {'good' if good else 'bad'}", self.state.with_edits(stem, edits))

    def move_pick(self, old: tuple[float, float], new: tuple[float, float]) -> None:
        """Move a pick: the old one is rejected, a new one added, in one step."""
        if self.stem is None or not self.is_shown:
            return
        edits = self.edits()
        kept = tuple(a for a in edits.added if (a.x, a.y) != old)
        rejected = edits.rejected if len(kept) < len(edits.added) else (*edits.rejected, old)
        moved = self._described(float(new[0]), float(new[1]), "")
        self.do("move a pick", self.state.with_edits(self.stem, Edits(rejected, (*kept, moved))))

    def _apart(self) -> float:
        """Return the minimum distance in pixels of the file; 0 while the size of particles is unknown."""
        loaded, tune = self.loaded, self.tune()
        if loaded is not None and loaded.selection is not None:
            return loaded.selection.min_distance(tune) / loaded.selection.candidates.pixel_size
        size = None if loaded is None else loaded.pixel_size
        distance = tune.min_distance or (self.state.values.get("diameter") or 0.0) / 2
        return distance / size if size else 0.0

    def _described(self, x: float, y: float, view: str) -> Added:
        """Return a pick with the values of the maps at its place, or else of the candidate that lies there.

        Where a view was chosen, they must be those of that view.
        """
        loaded = self.loaded
        names = self.view_names()
        fallback = view or (names[0] if names else "")
        selection = None if loaded is None else loaded.selection
        if loaded is not None and selection is not None and not loaded.maps:
            k = selection.nearest(x, y, self._apart())
            name = "" if k is None else selection.candidates.view_names[selection.picks.view[k]]
            if k is not None and view in ("", name):
                picks = selection.picks
                ncc = picks.score if picks.ncc is None else picks.ncc
                return Added(x, y, name, float(ncc[k]), float(picks.psi[k]), int(picks.section[k]))
        if loaded is None or not loaded.maps or loaded.bank is None:
            return Added(x, y, fallback)
        pair = loaded.maps.get(view) or loaded.maps[""]
        row = int(np.clip(round(y / pair.ratio), 0, pair.labels.shape[0] - 1))
        column = int(np.clip(round(x / pair.ratio), 0, pair.labels.shape[1] - 1))
        k = pair.labels[row : row + 1, column].astype(np.int32) - 1
        if k[0] < 0:
            return Added(x, y, fallback)
        name = loaded.bank.view_names[int(loaded.bank.view(k)[0])]
        if view not in ("", name):
            return Added(x, y, view)
        return Added(
            x, y, name, float(pair.score[row, column]), float(loaded.bank.psi(k)[0]), int(loaded.bank.section(k)[0])
        )


def _with_threshold_of(tune: Tune, known: str, new: str) -> Tune:
    """Return what tunes with the threshold of a view for another one too."""
    return replace(tune, thresholds=_also_as(new, known, tune.thresholds))


def _also_as(new: str, known: str, thresholds: Mapping[str, float]) -> Mapping[str, float]:
    return {**thresholds, new: thresholds[known]} if known in thresholds else thresholds
