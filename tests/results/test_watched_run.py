"""Automatic thresholds and the learned score of a run whose micrographs arrive one by one: those of `gempick pick`."""

import random

import pytest

from cluster_jobs import tree
from napari_gempick.io.listing import find_micrographs
from napari_gempick.workflows import watch_record
from napari_gempick.workflows.pick import pick_files
from napari_gempick.workflows.retune import retune
from napari_gempick.workflows.watch import watch_folders
from napari_gempick.workflows.watch_settings import make_watch_settings

QUICK = make_watch_settings({"poll": "0.02s", "settle": "0.03s", "until_idle": "0.3s", "refresh": "0.01s"})


def watched(settings, data, folder, seed, **how):
    """Let the micrographs arrive one by one in a random order; return the events."""
    names, events = [path.name for path in sorted((data / "mics").iterdir())], []
    random.Random(seed).shuffle(names)
    (folder / "mics").mkdir(parents=True)

    def tell(event, facts):
        events.append((event, facts))
        if event == "idle" and names:
            (folder / "mics" / names[-1]).write_bytes((data / "mics" / names.pop()).read_bytes())

    watch_folders(settings, [folder / "mics"], folder / "out", QUICK, tell=tell, **how)
    return events


def index(folder):
    return (folder / "autopick.star").read_text().replace(str(folder), "").replace(str(folder.parent), "")


@pytest.mark.parametrize(("seed", "more"), [(1, {}), (2, {"score": "learned"})])
def test_any_order_of_arrival_ends_with_the_bytes_of_pick(data, settings, tmp_path, monkeypatch, seed, more):
    """Whatever was chosen in between, here after each micrograph."""
    monkeypatch.setattr(watch_record, "SHARE", 0)
    settings = settings.model_copy(update=more)
    events = watched(settings, data, tmp_path, seed)
    assert [facts["micrographs"] for event, facts in events if event == "refreshed"] == [1, 2, 3, 4, 5, 6, 6]
    pick_files(settings, find_micrographs([tmp_path / "mics"]), tmp_path / "picked")
    assert tree(tmp_path / "out") == tree(tmp_path / "picked")
    assert index(tmp_path / "out") == index(tmp_path / "picked")


def test_one_threshold_for_all(data, settings, tmp_path):
    events = watched(settings, data, tmp_path, 3, pooled=True)
    pick_files(settings, find_micrographs([tmp_path / "mics"]), tmp_path / "picked")
    run = retune(tmp_path / "picked", {}, pooled=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "picked")
    assert events[-1] == ("ended", {"state": "complete", "done": 6, "failed": 0,
                                    "picks": sum(row["picks"] for row in run["micrographs"])})  # fmt: skip


@pytest.mark.parametrize(("more", "most"), [({}, 3), ({"threshold": ("0.3",)}, 0)])
def test_choices_by_the_whole_run_are_few_where_many_are_there(data, settings, tmp_path, more, most):
    """And without automatic thresholds there is none."""
    slow, events = make_watch_settings({**QUICK.model_dump(), "refresh": "1h"}), []
    folder, chosen = data / "mics", settings.model_copy(update=more)
    watch_folders(chosen, [folder], tmp_path / "out", slow, tell=lambda *one: events.append(one))
    refreshed = [facts for event, facts in events if event == "refreshed"]
    assert len(refreshed) <= most and bool(refreshed) == bool(most)
