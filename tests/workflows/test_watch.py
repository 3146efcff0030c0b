"""Micrographs as they arrive: each event brings the next file, so that no test depends on how fast the machine is."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cluster_jobs import PLANTED, SHAPE, tree
from ctf_rows import HEAD, row
from helpers import Blobs
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.errors import Cancelled, InputError, SettingsError
from napari_gempick.model.settings import make_settings
from napari_gempick.workflows import watch
from napari_gempick.workflows.pick import pick_files
from napari_gempick.workflows.watch_settings import make_watch_settings

QUICK = {"poll": "0.02s", "settle": "0.03s", "until_idle": "0.3s", "refresh": "0.05s"}


def image(number):
    noise = np.random.default_rng(number).standard_normal(SHAPE)
    return (-Blobs.image(SHAPE, 4.0, list(PLANTED)) + 0.3 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Contents of four micrographs by name, and a template."""
    folder = tmp_path_factory.mktemp("files")
    write_mrc(folder / "template.mrc", -Blobs.image((44, 44), 4.0, [(22, 22)]), 4.0)
    names = ("grid0/a.mrc", "grid0/b.mrc", "grid1/a.mrc", "grid1/c.mrc")
    for number, name in enumerate(names):
        write_mrc(folder / name, image(number), 4.0)
    return folder, {name: (folder / name).read_bytes() for name in names}


class Run:
    """A watch whose events say what happens next."""

    def __init__(self, folder, template, **more):
        values = {"templates": (f"p={template}",), "mask": ("circle:130",), "angle_step": 0.0, "threshold": ("0.5",)}
        self.settings = make_settings({**values, **more})
        self.folder, self.output, self.events, self.notified = folder, folder.parent / "out", [], []
        self.stop = threading.Event()

    def __call__(self, on=lambda event, facts: None, *, output=None, overwrite=False, **how):
        """Watch; `on` hears each event while everything else waits."""
        self.events, self.notified, self.stop = [], [], threading.Event()

        def tell(event, facts):
            json.dumps(facts)
            self.events.append((event, facts))
            on(event, facts)

        watching = make_watch_settings({**QUICK, **how})
        output = output or self.output
        more = {"stop": self.stop, "tell": tell, "notify": self.notified.append}
        return watch.watch_folders(self.settings, [self.folder], output, watching, overwrite=overwrite, **more)

    def names(self, event):
        """Micrographs of the events of one kind, below the watched folder."""
        return [Path(facts["micrograph"]).relative_to(self.folder).as_posix() for e, facts in self.events if e == event]

    def record(self):
        """The lines of run.json."""
        return json.loads((self.output / "run.json").read_text())["micrographs"]

    def picked(self, where):
        """What gempick pick makes of the same files."""
        notes = []
        return pick_files(self.settings, find_micrographs([self.folder], notify=notes.append), where, notes=notes)

    def same(self, where):
        """Whether all files are the same, the index too; the lines of run.json are, but for times."""
        assert tree(self.output) == tree(where)
        index, other = ((at / "autopick.star").read_text().replace(str(at), "") for at in (self.output, where))
        rows, others = (json.loads((at / "run.json").read_text()) for at in (self.output, where))
        for one in (*rows["micrographs"], *others["micrographs"]):
            one.pop("seconds", None)
        assert {**rows, "plan": 0, "stages": 0} == {**others, "plan": 0, "stages": 0}
        return index == other


@pytest.fixture
def run(tmp_path, files, plan_cache):
    (tmp_path / "in").mkdir()
    return Run(tmp_path / "in", files[0] / "template.mrc")


def put(run, name, content):
    (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (run.folder / name).write_bytes(content)


def one_by_one(run, steps):
    """Do the next step whenever nothing is left to do."""
    steps = iter(steps)

    def on(event, facts):
        if event == "idle":
            next(steps, lambda: None)()

    return on


def test_files_that_come_one_by_one_in_any_order_give_what_pick_gives(run, files, tmp_path):
    order = ["grid1/c.mrc", "grid0/b.mrc", "grid1/a.mrc", "grid0/a.mrc"]
    steps = [lambda name=name: put(run, name, files[1][name]) for name in order]
    made = run(one_by_one(run, steps))
    assert run.names("found") == run.names("done") == order
    assert [event for event, _ in run.events[-2:]] == ["idle", "ended"]
    assert run.events[-1][1] == {"state": "complete", "done": 4, "failed": 0, "picks": 12}
    assert made["stages"]["limited_by"] == "arrival of micrographs"
    assert [row["picks"] for row in made["micrographs"]] == [3] * 4
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_started_again_it_does_nothing_twice_and_goes_on_with_what_is_new(run, files, tmp_path):
    for name in ("grid0/a.mrc", "grid0/b.mrc"):
        put(run, name, files[1][name])
    run()
    before = {path: path.stat().st_ino for path in run.output.rglob("candidates/**/*.star")}
    put(run, "grid1/c.mrc", files[1]["grid1/c.mrc"])
    run()
    assert run.events[0][1]["done"] == 2 and run.names("done") == ["grid1/c.mrc"]
    assert all(path.stat().st_ino == number for path, number in before.items())
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_the_results_of_pick_are_continued_and_other_settings_refused(run, files):
    put(run, "grid0/a.mrc", files[1]["grid0/a.mrc"])
    run.picked(run.output)
    put(run, "grid0/b.mrc", files[1]["grid0/b.mrc"])
    run()
    assert run.names("done") == ["grid0/b.mrc"]
    other = Run(run.folder, run.settings.templates[0].split("=")[1], threshold=("0.3",))
    with pytest.raises(SettingsError, match="other settings"):
        other()
    (run.folder / "grid0/a.mrc").unlink()
    other(overwrite=True)
    assert other.names("done") == ["grid0/b.mrc"]
    assert [path.name for path in run.output.rglob("*_autopick.star")] == ["b_autopick.star"]


def test_stopping_ends_after_the_micrograph_in_hand(run, files, tmp_path):
    for name, content in files[1].items():
        put(run, name, content)
    with pytest.raises(Cancelled, match="Stopped"):
        run(lambda event, facts: run.stop.set() if event == "done" else None)
    assert run.names("done") == ["grid0/a.mrc"]
    assert run.events[-1] == ("ended", {"state": "stopped", "done": 1, "failed": 0, "picks": 3})
    record = json.loads((run.output / "run.json").read_text())
    assert record["state"] == "stopped" and len(record["micrographs"]) == 1
    run()
    assert run.names("done") == ["grid0/b.mrc", "grid1/a.mrc", "grid1/c.mrc"]
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_a_broken_file_is_reported_once_and_picked_when_it_has_changed(run, files, tmp_path):
    content = files[1]["grid0/a.mrc"]
    write_mrc(tmp_path / "constant.mrc", np.zeros(SHAPE, np.float32), 4.0)
    steps = [
        lambda: put(run, "grid0/b.mrc", content[:-8]),
        lambda: put(run, "grid0/c.mrc", (tmp_path / "constant.mrc").read_bytes()),
        lambda: put(run, "grid0/d.mrc", content),
        lambda: put(run, "grid0/b.mrc", content),
    ]
    put(run, "grid0/a.mrc", content)
    (run.folder / "grid0/nowhere.mrc").symlink_to(tmp_path / "nowhere.mrc")
    made = run(one_by_one(run, steps))
    assert run.names("failed") == ["grid0/nowhere.mrc", "grid0/b.mrc", "grid0/c.mrc"]
    assert run.names("done") == ["grid0/a.mrc", "grid0/d.mrc", "grid0/b.mrc"]
    (truncated,) = (text for text in run.notified if "truncated" in text)
    assert "b.mrc" in truncated
    assert sum("constant" in text for text in run.notified) == 1
    assert ["error" in row for row in made["micrographs"]] == [False, False, True, False, True]
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_a_file_that_changes_while_it_is_searched_or_later_is_searched_again(run, files, tmp_path, monkeypatch):
    first, second, third = (files[1][f"grid{n}"] for n in ("0/a.mrc", "0/b.mrc", "1/a.mrc"))
    load, changed = watch.Picking.loader, []

    def replaced_while_it_is_read(self, micrograph, **how):
        def loads():
            source = load(self, micrograph, **how)()
            if not changed:
                changed.append(micrograph)
                put(run, "grid0/a.mrc", second)
            return source

        return loads

    monkeypatch.setattr(watch.Picking, "loader", replaced_while_it_is_read)
    put(run, "grid0/a.mrc", first)
    run(one_by_one(run, [lambda: put(run, "grid0/a.mrc", third)]))
    assert run.names("found") == ["grid0/a.mrc"] * 3
    assert run.names("done") == ["grid0/a.mrc"] * 2, "what was read of the first file is not kept"
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_companions_and_equal_stems_that_come_later(run, files, tmp_path):
    """The names of results, and what is left out, follow all files, whichever came first."""
    a, b = files[1]["grid0/a.mrc"], files[1]["grid0/b.mrc"]
    steps = [
        lambda: put(run, "grid0/a.mrc", a),
        lambda: put(run, "grid0/b.mrcs", b),
        lambda: put(run, "grid0/b.mrc", a),
    ]
    put(run, "grid0/a_noDW.mrc", b)
    run(one_by_one(run, steps))
    assert run.names("done")[:3] == ["grid0/a_noDW.mrc", "grid0/a.mrc", "grid0/b.mrcs"]
    assert sorted(run.names("done")[3:]) == ["grid0/b.mrc", "grid0/b.mrcs"]
    assert any("written beside a micrograph are left out" in text for text in run.notified)
    made = pick_files(run.settings, find_micrographs([run.folder]), tmp_path / "other")
    assert [row["name"] for row in made["micrographs"]] == ["grid0/a", "grid0/b.mrc", "grid0/b.mrcs"]
    assert tree(run.output) == tree(tmp_path / "other")


def test_started_again_after_the_names_have_changed(run, files, tmp_path):
    """A companion's own micrograph, a second file of the stem, and a further folder, while nobody watched."""
    for name in ("grid0/a_noDW.mrc", "grid0/b.mrc"):
        put(run, name, files[1]["grid0/a.mrc"])
    run.folder = run.folder / "grid0"
    run()
    assert sorted(row["name"] for row in run.record()) == ["a_noDW", "b"]
    run.folder = run.folder.parent
    for name in ("grid0/a.mrc", "grid0/b.mrcs", "grid1/b.mrc"):
        put(run, name, files[1]["grid0/b.mrc"])
    run()
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_a_name_that_now_belongs_to_another_file(run, files, tmp_path):
    """Of the folder alone it was `a`; of the folder above, `a` is a file that nobody had picked."""
    put(run, "grid0/a.mrc", files[1]["grid0/a.mrc"])
    put(run, "a.mrc", files[1]["grid0/b.mrc"])
    os.utime(run.folder / "a.mrc", (1, 1))
    run.folder = run.folder / "grid0"
    run()
    run.folder = run.folder.parent
    run()
    assert sorted(run.names("done")) == ["a.mrc", "grid0/a.mrc"]
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_a_data_set_that_was_moved_is_not_picked_again(run, files, tmp_path):
    put(run, "grid0/a.mrc", files[1]["grid0/a.mrc"])
    run()
    run.folder = run.folder.rename(tmp_path / "moved")
    run()
    assert run.names("found") == []
    assert [(row["picks"], row["path"]) for row in run.record()] == [(3, str(tmp_path / "moved/grid0/a.mrc"))]


def with_ctf(run, **more):
    return Run(run.folder, run.settings.templates[0].split("=")[1], ctf=str(run.folder.parent / "ctf.star"),
               threshold=("0.1",), **more)  # fmt: skip


def test_micrographs_wait_for_their_ctf(run, files, tmp_path):
    run = with_ctf(run, format=("star,particles",))
    star = tmp_path / "ctf.star"
    for name in ("grid0/a.mrc", "grid0/b.mrc"):
        put(run, name, files[1][name])
    seen = []

    def on(event, facts):
        seen.append(event)
        if event == "found" and seen.count("found") == 1:
            assert star.exists()
            star.write_text(HEAD + row("grid0/a.mrc") + row("grid0/b.mrc", 21000.0))

    threading.Timer(0.3, lambda: star.write_text(HEAD + row("grid0/a.mrc"))).start()
    run(on)
    assert run.names("done") == ["grid0/a.mrc", "grid0/b.mrc"]
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_one_without_a_row_fails_with_one_sentence_and_is_picked_when_the_row_comes(run, files, tmp_path):
    run = with_ctf(run)
    star = tmp_path / "ctf.star"
    star.write_text(HEAD + row("grid0/a.mrc"))
    for name in ("grid0/a.mrc", "grid0/b.mrc"):
        put(run, name, files[1][name])

    def on(event, facts):
        if event == "failed":
            assert "b.mrc" in facts["error"] and "has no row for it after 0.1s" in facts["error"]
            star.write_text(HEAD + row("grid0/a.mrc") + row("grid0/b.mrc", 21000.0))

    run(on, ctf_wait="0.1s")
    assert run.names("failed") == ["grid0/b.mrc"] and run.names("done") == ["grid0/a.mrc", "grid0/b.mrc"]
    assert sum("has no row for it" in text for text in run.notified) == 1
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_a_row_that_fits_better_or_has_changed_leads_to_another_search(run, files, tmp_path):
    """Two micrographs of one stem: the first row is of the other one, and is taken only as long as it is alone."""
    run = with_ctf(run)
    star = tmp_path / "ctf.star"
    star.write_text(HEAD + row("grid0/a.mrc"))
    put(run, "grid1/a.mrc", files[1]["grid1/a.mrc"])
    both = HEAD + row("grid0/a.mrc") + row("grid1/a.mrc", 21000.0)
    run(one_by_one(run, [lambda: star.write_text(both), lambda: put(run, "grid0/a.mrc", files[1]["grid0/a.mrc"])]))
    assert run.names("done") == ["grid1/a.mrc", "grid1/a.mrc", "grid0/a.mrc"]
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")


def test_nothing_that_arrives_is_an_error_at_the_end(run):
    with pytest.raises(InputError, match="No micrograph arrived"):
        run()
    assert run.events[-1][0] == "ended" and run.events[-1][1]["done"] == 0


def test_a_file_in_the_place_of_a_folder_is_refused_and_a_folder_may_come_later(run, files):
    run.folder.rmdir()
    with pytest.raises(SettingsError, match="is a file"):
        watch.watch_folders(run.settings, [files[0] / "template.mrc"], run.output, make_watch_settings(QUICK))
    run(one_by_one(run, [lambda: put(run, "a.mrc", files[1]["grid0/a.mrc"])]))
    assert run.names("done") == ["a.mrc"] and "does not exist yet" in run.notified[0]


@pytest.mark.parametrize("word", ["30", "half an hour", "-5s", "1e3s", ""])
def test_times_that_cannot_be_read(word):
    with pytest.raises(SettingsError, match="such as 90s, 30m or 2h"):
        make_watch_settings({"until_idle": word})


@pytest.mark.parametrize(
    ("word", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5 min", 90), ("1d", 86400)]
)
def test_times_in_seconds(word, seconds):
    assert make_watch_settings({"poll": word}).seconds("poll") == seconds


def test_a_row_that_goes_again_leaves_what_is_done(run, files, tmp_path):
    """A list that names only the newest micrographs: those before keep their results."""
    run = with_ctf(run)
    star = tmp_path / "ctf.star"
    star.write_text(HEAD + row("grid0/b.mrc"))
    put(run, "grid0/b.mrc", files[1]["grid0/b.mrc"])

    def next_one():
        put(run, "grid1/c.mrc", files[1]["grid1/c.mrc"])
        star.write_text(HEAD + row("grid1/c.mrc"))

    run(one_by_one(run, [next_one]), ctf_wait="5s")
    assert run.names("done") == ["grid0/b.mrc", "grid1/c.mrc"] and not run.names("failed")
    assert {row["name"] for row in run.record()} == {"grid0/b", "grid1/c"}


def test_a_ctf_that_changes_during_a_search_leads_to_another_search(run, files, tmp_path, monkeypatch):
    run = with_ctf(run)
    star, real, changed = tmp_path / "ctf.star", watch._Watch._finish, []
    star.write_text(HEAD + row("grid0/a.mrc"))
    put(run, "grid0/a.mrc", files[1]["grid0/a.mrc"])

    def finish(self, micrograph, outcome):
        if not changed:
            changed.append(micrograph)
            star.write_text(HEAD + row("grid0/a.mrc", 25000.0))
            until = time.monotonic() + 20
            while not self._ctf.update(time.monotonic()):
                assert time.monotonic() < until
                time.sleep(0.01)
        real(self, micrograph, outcome)

    monkeypatch.setattr(watch._Watch, "_finish", finish)
    run()
    assert run.names("found") == ["grid0/a.mrc"] * 2 and run.names("done") == ["grid0/a.mrc"]
    run.picked(tmp_path / "other")
    assert run.same(tmp_path / "other")
