"""What a person decides in the window, frozen: every action makes a new state, so undo is going back to an old one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, make_dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_gempick.io.images.micrograph import plausible
from napari_gempick.io.listing import MicrographFile
from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import LEARNED, TUNED, PickSettings, make_settings
from napari_gempick.model.values import Named, named_texts
from napari_gempick.widgets.state.look import VIEW_COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_gempick.widgets.state.masks import Mask

DEFAULT_THRESHOLD = PickSettings().thresholds.of(("all",))[0] or 0.4
_DEFAULT_SCORE = PickSettings().score
SELECTION_SETTINGS = ("diameter", "exclude", "exclude_edited")
"""Settings of the search that choose picks among candidates; the diameter is the default of the border."""


@dataclass(frozen=True)
class ViewSpec:
    """A named view: template files, the mask as `--mask` takes it, and a colour."""

    name: str
    files: tuple[str, ...]
    mask: str = "auto"
    colour: str = VIEW_COLOURS[0]


BESIDE_THRESHOLDS = (
    *names_with(PickSettings, group="Tune"),
    *names_with(PickSettings, group="Limits", role="tuned"),
    "fdr",
)
"""Settings that choose picks beside the thresholds, in the order of session files."""
_Tuned: Any = make_dataclass(
    "_Tuned",
    [("thresholds", Any, field(default_factory=dict)), *((name, Any, None) for name in BESIDE_THRESHOLDS)],
    frozen=True,
)


class Tune(_Tuned):
    """What turns candidates into picks: the threshold of each view, and settings, None for their defaults.

    With `fdr` the thresholds are chosen so that about this share of the picks is false; they are moved by hand without.
    """

    def settings(self) -> dict[str, Any]:
        """Return what `make_settings` takes, less the thresholds."""
        return {name: getattr(self, name) for name in TUNED}

    def local_limits(self) -> tuple[tuple[float, float], ...]:
        """Return the limits of local mean, local standard deviation and power; empty where none is set."""
        return PickSettings(**self.settings()).local_limits()

    def limits(self) -> Tune:
        """Return what chooses picks beside the thresholds."""
        return replace(self, thresholds={}, fdr=None, max_picks=None)

    def threshold(self, view: str) -> float:
        """Return the lowest score of a view."""
        return self.thresholds.get(view, DEFAULT_THRESHOLD)


@dataclass(frozen=True)
class Added:
    """A pick added by hand: pixels of the file, and what the maps say there (NaN and -1 where there are none)."""

    x: float
    y: float
    view: str = ""
    score: float = float("nan")
    psi: float = float("nan")
    section: int = -1


@dataclass(frozen=True)
class Edits:
    """Corrections by hand of one micrograph; positions (x, y) in pixels of the file."""

    rejected: tuple[tuple[float, float], ...] = ()
    added: tuple[Added, ...] = ()


@dataclass(frozen=True)
class State:
    """Everything that undo brings back, and a session file keeps.

    Attributes
    ----------
    rejected : frozenset of str
        Micrographs, by what the names of their results begin with, that are left out of searches, export and jobs.
    teach : bool
        Corrections teach the learned score.
    aside : mapping
        Thresholds of the score that is not in use: by score, then by stem ("" for all), then by view.
    masks : mapping of str to Mask
        Excluded areas that were edited since the session was opened, by stem; they are kept as files.
    """

    files: tuple[MicrographFile, ...] = ()
    views: tuple[ViewSpec, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    tune: Tune = field(default_factory=Tune)
    overrides: Mapping[str, Tune] = field(default_factory=dict)
    edits: Mapping[str, Edits] = field(default_factory=dict)
    rejected: frozenset[str] = frozenset()
    teach: bool = False
    aside: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    masks: Mapping[str, Mask] = field(default_factory=dict)

    @property
    def score(self) -> str:
        """The score that chooses picks."""
        return str(self.values.get("score") or _DEFAULT_SCORE)

    def with_values(self, values: Mapping[str, Any]) -> State:
        """Return the state with other settings of the search; another score brings the thresholds that it had.

        A score that had none keeps those of the other one until they are chosen, with `with_first_thresholds`.
        """
        made = replace(self, values=values)
        if made.score == self.score:
            return made
        tunes = {"": self.tune, **self.overrides}
        aside = {**self.aside, self.score: {stem: tune.thresholds for stem, tune in tunes.items()}}
        own = aside.pop(made.score, None)
        made = replace(made, aside=aside)
        if own is None:
            return made
        overrides = {stem: replace(tune, thresholds=own.get(stem, own[""])) for stem, tune in self.overrides.items()}
        return replace(made, tune=replace(self.tune, thresholds=own[""]), overrides=overrides)

    def with_first_thresholds(self, thresholds: Mapping[str, float]) -> State:
        """Return the state with thresholds for all micrographs, also for those that have others of another score."""
        overrides = {
            stem: replace(tune, thresholds={**tune.thresholds, **thresholds})
            if any(known.get(stem) == tune.thresholds for known in self.aside.values())
            else tune
            for stem, tune in self.overrides.items()
        }
        return replace(self.with_tune(None, thresholds={**self.tune.thresholds, **thresholds}), overrides=overrides)

    @property
    def lesson(self) -> tuple[Any, ...] | None:
        """What a learned score follows from, beside the candidates; None where the NCC chooses."""
        if self.score != LEARNED:
            return None
        values = tuple(self.values.get(name) for name in SELECTION_SETTINGS)
        return self.tune.limits(), values, self.masks, self.edits if self.teach else None

    @cached_property
    def kept(self) -> tuple[MicrographFile, ...]:
        """The micrographs that are not rejected."""
        return tuple(file for file in self.files if file.output_stem not in self.rejected)

    def tune_of(self, stem: str | None) -> Tune:
        """Return what holds for a micrograph: its own, or that of all."""
        return self.tune if stem is None else self.overrides.get(stem, self.tune)

    def settings(self, **more: Any) -> PickSettings:
        """Return the settings of a run.

        Raises
        ------
        SettingsError
            They contradict each other.
        """
        return self._settings if not more else self._made(**more)

    @cached_property
    def _settings(self) -> PickSettings:
        return self._made()

    def _made(self, **more: Any) -> PickSettings:
        values: dict[str, Any] = dict(self.values)
        values["templates"] = [str(Named(view.name, file)) for view in self.views for file in view.files]
        values["mask"] = named_texts({view.name: view.mask for view in self.views}) or ["auto"]
        values["threshold"] = named_texts({view.name: self.tune.threshold(view.name) for view in self.views}, "g") or [
            "0.4"
        ]
        values |= self.tune.settings()
        values.pop("contrast" if values.get("ctf") else "phase_flipped", None)  # kept for when they count again
        return make_settings({**values, **more})

    @property
    def inverted(self) -> bool:
        """Whether particles look like the templates in inverted contrast."""
        values = self.values
        if values.get("ctf"):
            return values.get("phase_flipped") != "bright"
        return values.get("contrast") == "opposite"

    def with_edits(self, stem: str, edits: Edits) -> State:
        """Return the state with other corrections of a micrograph."""
        return replace(self, edits={**self.edits, stem: edits})

    def with_tune(self, stem: str | None, **changes: Any) -> State:
        """Return the state with other values for one micrograph, or for all (None)."""
        tune = replace(self.tune_of(stem), **changes)
        if stem is None:
            return replace(self, tune=tune)
        return replace(self, overrides={**self.overrides, stem: tune})


def to_plain(state: State) -> dict[str, Any]:
    """Return the state as JSON holds it."""
    plain = dataclasses.asdict(replace(state, masks={}))
    del plain["masks"]
    plain["rejected"] = sorted(state.rejected)
    plain["files"] = [
        {
            "path": str(file.path),
            "relative": str(file.relative),
            "whole_name": file.whole_name,
            "pixel_size": plausible(file.pixel_size),
        }
        for file in state.files
    ]
    return plain


def from_plain(plain: Mapping[str, Any]) -> State:
    """Return the state of what `to_plain` wrote, once `session_format` has checked it."""
    return State(
        files=tuple(
            MicrographFile(Path(f["path"]), PurePosixPath(f["relative"]), bool(f["whole_name"]), f.get("pixel_size"))
            for f in plain["files"]
        ),
        views=tuple(ViewSpec(v["name"], tuple(v["files"]), v["mask"], v["colour"]) for v in plain["views"]),
        values=dict(plain["values"]),
        tune=Tune(**plain["tune"]),
        overrides={stem: Tune(**tune) for stem, tune in plain["overrides"].items()},
        edits={
            stem: Edits(tuple((x, y) for x, y in e["rejected"]), tuple(Added(**a) for a in e["added"]))
            for stem, e in plain["edits"].items()
        },
        rejected=frozenset(plain["rejected"]),
        teach=plain["teach"],
        aside=plain["aside"],
    )


class History:
    """States to go back and forth between; changes that belong to one gesture are one step."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._past: list[tuple[str, State]] = []
        self._future: list[tuple[str, State]] = []
        self._gesture: str | None = None

    def do(self, what: str, state: State, gesture: str | None = None) -> bool:
        """Take a new state; with the same `gesture` as the last one it joins that step. Returns whether it differs."""
        if state == self.state:
            return False
        if gesture is None or gesture != self._gesture:
            self._past.append((what, self.state))
        self._gesture = gesture
        self.state = state
        self._future.clear()
        return True

    def end_gesture(self) -> None:
        """Make the next change a step of its own."""
        self._gesture = None

    def amend(self, state: State) -> None:
        """Replace this state by another one: what follows from the last step, and is undone with it."""
        self.state = state

    def everywhere(self, change: Callable[[State], State]) -> None:
        """Change this state and all to go back and forth to: what undo leaves as it is."""
        self._past, self._future = ([(what, change(one)) for what, one in side] for side in (self._past, self._future))
        self.state = change(self.state)

    @property
    def undoable(self) -> str:
        """What undo would take back; empty where there is nothing."""
        return self._past[-1][0] if self._past else ""

    @property
    def redoable(self) -> str:
        """What redo would do again; empty where there is nothing."""
        return self._future[-1][0] if self._future else ""

    def undo(self) -> str:
        """Undo one step; return its name."""
        return self._swap(self._past, self._future)

    def redo(self) -> str:
        """Redo one step; return its name."""
        return self._swap(self._future, self._past)

    def _swap(self, source: list[tuple[str, State]], target: list[tuple[str, State]]) -> str:
        self._gesture = None
        if not source:
            return ""
        what, state = source.pop()
        target.append((what, self.state))
        self.state = state
        return what
