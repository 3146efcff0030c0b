"""Files that arrive: when they are complete, what changes make of them, and the names that they get."""

import bz2
import gzip
import os

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from mrc_files import mrc_bytes
from napari_gempick.io.arrivals import PATIENCE, Arrivals, is_complete
from napari_gempick.io.listing import find_micrographs

SETTLE = 5.0
IMAGE = np.random.default_rng(0).standard_normal((24, 30)).astype(np.float32)
WHOLE = mrc_bytes(IMAGE)


class Watched:
    """What is to be picked by now, after each look; time passes only when it is told to."""

    def __init__(self, *folders, skip=()):
        self.arrivals, self.now, self.files, self.taken = Arrivals(folders, skip, SETTLE), 0.0, {}, []

    def look(self, after=0.0, *, everywhere=False):
        """Look once, and apply what was found; return the names of what is new."""
        self.now += after
        return self.apply(self.arrivals.look(self.now, everywhere=everywhere))

    def apply(self, found):
        for file in found.gone:
            before = self.files.pop(file.output_stem, None)
            assert before is None or before.path == file.path
        new = [file for file in found.complete if self.arrivals.holds(file)]
        for file in new:
            assert file.output_stem not in self.files
            self.files[file.output_stem] = file
        self.taken += [file.output_stem for file in new]
        return sorted(file.output_stem for file in new)

    def settled(self):
        """Look until everything that lies there has been taken or refused."""
        return sorted({*self.look(1), *self.look(SETTLE), *self.look(PATIENCE * SETTLE)})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def tiff(path, **how):
    tifffile.imwrite(path, (1000 * IMAGE).astype(np.int16), **how)


KINDS = {
    "a.mrc": lambda path: path.write_bytes(WHOLE),
    "extended.mrc": lambda path: path.write_bytes(mrc_bytes(IMAGE, extended=bytes(256))),
    "a.mrc.gz": lambda path: path.write_bytes(gzip.compress(WHOLE)),
    "a.mrc.bz2": lambda path: path.write_bytes(bz2.compress(WHOLE)),
    "plain.tif": tiff,
    "deflate.tif": lambda path: tiff(path, compression="zlib", rowsperstrip=4),
    "stack.tif": lambda path: tifffile.imwrite(path, np.stack([IMAGE] * 3), photometric="minisblack"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_part_of_a_file_is_not_complete(folder, name):
    path = folder / name
    KINDS[name](path)
    assert is_complete(path)
    content = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        assert not is_complete(path), share


def test_a_file_is_taken_when_it_is_whole_and_has_not_changed_for_the_settle_time(folder):
    watched = Watched(folder)
    with (folder / "a.mrc").open("wb") as stream:
        for part in (WHOLE[:100], WHOLE[100:2000], WHOLE[2000:]):
            stream.write(part)
            stream.flush()
            assert watched.look(SETTLE - 1) == []
    assert watched.arrivals.waiting == 1
    assert watched.look(0.5) == []
    assert watched.look(SETTLE) == ["a"]
    assert watched.look(100) == [] and watched.arrivals.waiting == 0


def test_one_that_is_renamed_into_place_and_one_in_a_new_folder(folder):
    watched = Watched(folder)
    (folder / ".a.mrc.Xy12").write_bytes(WHOLE)
    (folder / "a.mrc.part").write_bytes(WHOLE)
    assert watched.settled() == []
    (folder / ".a.mrc.Xy12").rename(folder / "a.mrc")
    (folder / "sub").mkdir()
    (folder / "sub/b.mrc").write_bytes(WHOLE)
    assert watched.settled() == ["a", "sub/b"]


def test_a_folder_that_does_not_exist_yet_or_is_gone_for_a_while(folder):
    watched = Watched(folder / "later")
    assert watched.look() == []
    (folder / "later").mkdir()
    (folder / "later/a.mrc").write_bytes(WHOLE)
    assert watched.settled() == ["a"]
    (folder / "later").rename(folder / "unmounted")
    assert watched.look(1) == [] and list(watched.files) == ["a"]
    (folder / "unmounted").rename(folder / "later")
    assert watched.settled() == [] and list(watched.files) == ["a"]


def test_a_broken_file_is_taken_late_and_again_once_it_changes(folder):
    watched = Watched(folder)
    (folder / "a.mrc").write_bytes(WHOLE[:-1])
    watched.look()
    assert watched.look(SETTLE) == [] and watched.look(SETTLE) == []
    assert watched.look(PATIENCE * SETTLE) == ["a"]
    watched.arrivals.mark(watched.files["a"], failed=True)
    assert watched.look(100) == []
    (folder / "a.mrc").write_bytes(WHOLE)
    watched.look(1)
    assert watched.files == {}
    assert watched.look(SETTLE) == ["a"]
    watched.arrivals.mark(watched.files["a"], failed=False)
    assert watched.settled() == []


def test_a_link_that_leads_nowhere_is_broken_until_its_file_is_there(folder, tmp_path):
    watched = Watched(folder)
    (folder / "a.mrc").symlink_to(tmp_path / "later.mrc")
    watched.look()
    assert watched.look(SETTLE) == [] and watched.look(PATIENCE * SETTLE) == ["a"]
    watched.arrivals.mark(watched.files["a"], failed=True)
    assert watched.look(1) == [] and watched.arrivals.waiting == 0
    (tmp_path / "later.mrc").write_bytes(WHOLE)
    watched.look(1)
    assert watched.look(SETTLE) == ["a"]


def test_permissions_of_a_broken_file_count_as_a_change_and_of_another_not(folder):
    watched = Watched(folder)
    for name in ("a.mrc", "b.mrc"):
        (folder / name).write_bytes(WHOLE)
    assert watched.settled() == ["a", "b"]
    watched.arrivals.mark(watched.files["a"], failed=True)
    for name in ("a.mrc", "b.mrc"):
        (folder / name).chmod(0o640)
    watched.look(1, everywhere=True)
    assert list(watched.files) == ["b"]


@pytest.mark.parametrize("how", ["in place", "renamed over"])
def test_a_file_that_was_done_and_changes_is_void(folder, how):
    watched = Watched(folder)
    (folder / "a.mrc").write_bytes(WHOLE)
    assert watched.settled() == ["a"]
    other = mrc_bytes(IMAGE[::-1].copy())
    if how == "in place":
        (folder / "a.mrc").write_bytes(other)
        os.utime(folder / "a.mrc", (1, 1))
    else:
        (folder / ".new").write_bytes(other)
        (folder / ".new").rename(folder / "a.mrc")
    first = watched.files["a"]
    assert not watched.arrivals.holds(first, unchanged=True)
    watched.look(1)
    assert list(watched.files) == ["a"], "seen where all files are looked at"
    watched.look(1, everywhere=True)
    assert watched.files == {}
    assert watched.look(SETTLE + 1) == ["a"]
    assert watched.files["a"] == first and not watched.arrivals.holds(first), "what is made of the first file is void"


def test_what_was_done_stays_when_its_file_is_removed(folder):
    watched = Watched(folder)
    (folder / "a.mrc").write_bytes(WHOLE)
    (folder / "b.mrc").write_bytes(WHOLE[:30])
    watched.look()
    assert watched.look(SETTLE) == ["a"] and watched.arrivals.waiting == 1
    (folder / "a.mrc").unlink()
    (folder / "b.mrc").unlink()
    watched.look(1, everywhere=True)
    assert list(watched.files) == ["a"] and watched.arrivals.waiting == 0


def test_one_that_vanished_while_it_was_read_may_come_again(folder):
    watched = Watched(folder)
    (folder / "a.mrc").write_bytes(WHOLE)
    assert watched.settled() == ["a"]
    (folder / "a.mrc").unlink()
    assert watched.apply(watched.arrivals.forget(watched.files["a"])) == []
    watched.look(1)
    assert watched.files == {} and watched.arrivals.waiting == 0
    (folder / "a.mrc").write_bytes(WHOLE)
    assert watched.settled() == ["a"]


def test_each_look_lists_each_folder_once_and_asks_about_no_file_that_is_done(folder, monkeypatch):
    (folder / "sub").mkdir()
    for number in range(40):
        (folder / ("sub" if number % 2 else ".") / f"m{number}.mrc").write_bytes(WHOLE)
    watched = Watched(folder)
    assert len(watched.settled()) == 40
    listed, asked = [], []
    scandir, stat = os.scandir, os.stat
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    monkeypatch.setattr(os, "stat", lambda path, **how: asked.append(path) or stat(path, **how))
    (folder / "new.mrc").write_bytes(WHOLE)
    assert watched.look(1) == []
    assert sorted(listed) == [str(folder), str(folder / "sub")]
    assert [path for path in asked if str(path).endswith(".mrc")] == [str(folder / "new.mrc")]


NAMES = (
    "a.mrc",
    "a.tif",
    "a.mrc.tif",
    "a_noDW.mrc",
    "a_PS.mrc",
    "b_PS.mrc",
    "movie.mrcs",
    "sub/a.mrc",
    "sub/movie.mrc",
    "sub/movie.tif",
    "out/a.mrc",
    "sub/a_EVN.mrc",
    "sub/broken.mrc",
)
CONTENT = {"movie.mrcs": mrc_bytes(np.stack([IMAGE] * 2)), "sub/movie.mrc": mrc_bytes(np.stack([IMAGE] * 3)),
           "sub/broken.mrc": WHOLE[:1500]}  # fmt: skip


@given(st.permutations(NAMES), st.lists(st.sampled_from(["none", "settle", "all"]), min_size=13, max_size=13))
@settings(max_examples=25)
def test_any_order_of_arrival_gives_the_names_of_a_listing(tmp_path_factory, order, pauses):
    """Companions, stacks and equal stems, whichever of them comes first; notes too."""
    folder = tmp_path_factory.mktemp("arrivals")
    (folder / "sub").mkdir()
    (folder / "out").mkdir()
    tiff(folder / "image.tiff_")
    tiff_bytes = (folder / "image.tiff_").read_bytes()
    watched = Watched(folder, folder / "sub", skip=[folder / "out"])
    for name, pause in zip(order, pauses, strict=True):
        (folder / name).write_bytes(CONTENT.get(name, tiff_bytes if name.endswith("tif") else WHOLE))
        if pause != "none":
            watched.look(1)
            watched.look(SETTLE)
        if pause == "all":
            watched.settled()
    watched.settled()
    notes = []
    listed = find_micrographs([folder, folder / "sub"], skip=[folder / "out"], notify=notes.append)
    assert watched.files == {file.output_stem: file for file in listed}
    assert sorted(watched.files.values(), key=lambda file: watched.arrivals.place(str(file.path))) == listed
    assert watched.arrivals.notes()[: len(notes)] == notes[:2]


def test_a_companion_is_taken_when_the_micrograph_beside_it_goes_before_it_was_complete(folder):
    watched = Watched(folder)
    (folder / "x.mrc").write_bytes(WHOLE[:-10])
    (folder / "x_noDW.mrc").write_bytes(WHOLE)
    assert watched.look() == [] and watched.look(SETTLE) == []
    (folder / "x.mrc").unlink()
    assert watched.settled() == ["x_noDW"]
    assert [file.stem for file in find_micrographs([folder])] == ["x_noDW"]


@pytest.mark.parametrize("first", [True, False])
def test_an_average_is_left_out_whenever_it_arrives(folder, first):
    """As in a listing of the folder; it counts as a micrograph until one arrives beside which it is small."""
    watched, image = Watched(folder), mrc_bytes(np.zeros((16, 17), "f4"))
    for name, content in [("average.mrc", mrc_bytes(np.zeros((4, 4), "f4"))), ("a.mrc", image)][:: 1 if first else -1]:
        (folder / name).write_bytes(content)
        watched.settled()
    assert list(watched.files) == ["a"] == [file.output_stem for file in find_micrographs([folder])]
    assert ("average" in watched.taken) == first
    assert ["average.mrc" in note for note in watched.arrivals.notes()] == [True]
    (folder / "average.mrc").write_bytes(image)
    watched.look(everywhere=True)
    assert watched.settled() == ["average"]
