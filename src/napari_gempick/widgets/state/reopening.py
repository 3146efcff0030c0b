"""The state of the window for the results of `gempick pick`, made by hand or on a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_gempick.inputs.views import files_of_views
from napari_gempick.model.declaration import names_with
from napari_gempick.model.settings import TUNED, PickSettings, make_settings
from napari_gempick.results.run_file import micrograph_of
from napari_gempick.widgets.state.look import VIEW_COLOURS
from napari_gempick.widgets.state.state import State, Tune, ViewSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

_ELSEWHERE = {
    "threshold",
    *names_with(PickSettings, group=("Views", "Tune", "Limits")),
    *names_with(PickSettings, role="format"),
}
"""Settings that the state holds as views, as what tunes, or not at all."""


def state_of_settings(settings: PickSettings, view_names: tuple[str, ...] | None = None) -> State:
    """Return views, settings of the search and thresholds as the settings have them; no micrographs."""
    files = files_of_views(settings)
    names = view_names or tuple(files)
    views = tuple(
        ViewSpec(name, tuple(files.get(name, ())), mask, VIEW_COLOURS[i % len(VIEW_COLOURS)])
        for i, (name, mask) in enumerate(zip(names, settings.masks.of(names), strict=True))
    )
    default = PickSettings()
    values = {
        name: value
        for name, value in settings.model_dump(mode="json").items()
        if name not in _ELSEWHERE and value != default.model_dump(mode="json")[name]
    }
    wanted = settings.thresholds.of(names)  # None where the run chose it for each micrograph
    thresholds = {name: value for name, value in zip(names, wanted, strict=True) if value is not None}
    return State(views=views, values=values, tune=Tune(thresholds, **{name: getattr(settings, name) for name in TUNED}))


def state_of_run(run: Mapping[str, Any]) -> State:
    """Return the state for a run.json; thresholds that the run chose for each micrograph are its own."""
    names = tuple(view["name"] for view in run["views"])
    settings = make_settings(run["settings"])
    state = state_of_settings(settings, names)
    overrides = {}
    if None in settings.thresholds.of(names):
        overrides = {
            row["name"]: replace(state.tune, thresholds={name: _below(row["thresholds"].get(name)) for name in names})
            for row in run["micrographs"]
            if "thresholds" in row
        }
    return replace(state, files=tuple(micrograph_of(row) for row in run["micrographs"]), overrides=overrides)


def _below(threshold: float | None) -> float:
    """Return a threshold of run.json, which is rounded, so that it takes its own pick; None took nothing."""
    return 1.0 if threshold is None else round(threshold - 1e-6, 7)
