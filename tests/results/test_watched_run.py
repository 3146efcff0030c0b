"""Automatic thresholds and the learned score of a run whose micrographs arrive one by one: those of `gempick pick`."""

import json
import shutil

from cluster_jobs import tree
from napari_gempick.io.listing import find_micrographs
from napari_gempick.workflows import watch_record
from napari_gempick.workflows.pick import pick_files
from napari_gempick.workflows.retune import retune
from napari_gempick.workflows.watch import watch_folders
from napari_gempick.workflows.watch_settings import make_watch_settings

QUICK = make_watch_settings({"poll": "0.02s", "settle": "0.03s", "until_idle": "0.3s", "refresh": "0.01s"})


def watched(settings, data, names, folder, quick=QUICK, **how):
    """Let micrographs arrive one by one in the order of their names given; return the events."""
    events, names = [], list(names)
    (folder / "mics").mkdir(parents=True, exist_ok=True)

    def tell(event, facts):
        events.append((event, facts))
        if event == "idle" and names:
            name = names.pop(0)
            (folder / "mics" / name).write_bytes((data / "mics" / name).read_bytes())

    watch_folders(settings, [folder / "mics"], folder / "out", quick, tell=tell, **how)
    return events


def test_any_order_of_arrival_ends_with_the_bytes_of_pick(data, settings, picked, tmp_path, monkeypatch):
    """Whatever was chosen in between, here after each micrograph; so does one threshold for all."""
    monkeypatch.setattr(watch_record, "SHARE", 0)
    folder, run = picked
    events = watched(settings, data, [f"mic{number}.mrc" for number in (4, 1, 5, 0, 3, 2)], tmp_path)
    assert [facts["micrographs"] for event, facts in events if event == "refreshed"] == [1, 2, 3, 4, 5, 6, 6]
    assert tree(tmp_path / "out") == tree(folder)
    written = json.loads((tmp_path / "out/run.json").read_text())
    assert [row["thresholds"] for row in written["micrographs"]] == [row["thresholds"] for row in run["micrographs"]]
    shutil.copytree(folder, tmp_path / "pooled")
    pooled = retune(tmp_path / "pooled", {}, pooled=True)
    events = watched(settings, data, [], tmp_path, pooled=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "pooled") != tree(folder)
    assert "found" not in dict(events)
    assert events[-1][1]["picks"] == sum(row["picks"] for row in pooled["micrographs"])


def test_the_learned_score_is_taught_by_all_at_the_end(data, settings, tmp_path):
    settings = settings.model_copy(update={"score": "learned"})
    seldom = QUICK.model_copy(update={"refresh": "1h"})
    events = watched(settings, data, ["mic2.mrc", "mic0.mrc", "mic5.mrc"], tmp_path, seldom)
    assert [facts["micrographs"] for event, facts in events if event == "refreshed"] == [1, 3]
    pick_files(settings, find_micrographs([tmp_path / "mics"]), tmp_path / "picked")
    assert tree(tmp_path / "out") == tree(tmp_path / "picked")
