"""Kinds of damage that the fuzz command found, each with the sentence that it must give."""

import json
import time

import numpy as np
import pytest

from fuzzing.world import CTF, TEXTS
from napari_gempick.cluster.records import read_logs
from napari_gempick.device.plan import PlanStore
from napari_gempick.extraction.particle_stack import ParticleStack
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import FORMATS
from napari_gempick.io.formats.coordinate_set import ReadOptions
from napari_gempick.io.formats.cryosparc import read_exposures
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.stack import read_stack
from napari_gempick.io.star import read_tables
from napari_gempick.io.template_list import read_list
from napari_gempick.model.errors import GempickError, InputError, SettingsError
from napari_gempick.model.settings import make_settings
from napari_gempick.results.run_file import merged, read_settings


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("csv", "x,y,score\n1,2,1e39\n", "row 1 has an impossible score"),
        ("csv", 'x,y,view\n1,2,"a\tb"\n', "the view's name"),
        ("box", "0\t0\t24\t24\t-1\n9000000\t0\t24\t24\t-2\n", "over 100000 points"),
    ],
)
def test_coordinates(tmp_path, name, text, words):
    path = tmp_path / "damaged.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        FORMATS[name].read(path, ReadOptions(spacing=10.0))


def test_shares_that_are_none(tmp_path):
    for share, wanted in (("inf", None), ("nan", None), ("-1", None), ("0.25", 0.25)):
        path = tmp_path / "templates.star"
        path.write_text(TEXTS["templates.star"].replace("0.6", share))
        assert [row.share for row in read_list(path)] == [wanted, 0.4]


def test_a_list_is_named_with_the_file_that_it_lists(tmp_path):
    (tmp_path / "templates.star").write_text(TEXTS["templates.star"])
    with pytest.raises(InputError, match=r"templates\.star: .*stack\.mrcs does not exist"):
        read_stack(tmp_path / "templates.star")


_EXPOSURES = [((0, 9), b"a.mrc"), ((2**32 - 1, 9), b"a.mrc"), ((9, 9), b"\xff.mrc"), ((9, 9), b".")]


@pytest.mark.parametrize(("shape", "name"), _EXPOSURES)
def test_exposures(tmp_path, shape, name):
    rows = np.zeros(1, [("uid", "<u8"), ("micrograph_blob/path", "S9"), ("micrograph_blob/shape", "<u4", (2,))])
    rows["micrograph_blob/path"], rows["micrograph_blob/shape"] = name, shape
    with (tmp_path / "e.cs").open("wb") as stream:
        np.save(stream, rows)
    with pytest.raises(InputError, match=r"e\.cs"):
        read_exposures(tmp_path / "e.cs")


def test_values_that_no_template_has(tmp_path):
    data = np.ones((8, 8), np.float32)
    data[0, 0] = 3e38
    write_mrc(tmp_path / "t.mrc", data, 4.0)
    with pytest.raises(InputError, match="3e\\+38, which is impossible"):
        read_stack(tmp_path / "t.mrc")


def test_wisdom_that_was_changed_never_reaches_fftw(tmp_path):
    path = tmp_path / "plan.json"
    PlanStore(path).tile_shape("key", lambda: (64, 64))
    stored = json.loads(path.read_text())
    assert PlanStore(path).tile_shape("key", lambda: (1, 1)) == (64, 64)
    stored["wisdom"] = ["(fftw-3.3.5 fftw_wisdom #x0"] * 3
    path.write_text(json.dumps(stored))
    with pytest.raises(SettingsError, match=r"plan\.json cannot be read \(its checksum differs\)"):
        PlanStore(path)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"plan": {}}', "[1]", "\\x00"])
def test_the_journal_of_an_extraction(tmp_path, line):
    stack = ParticleStack(tmp_path / "p.mrcs", 8, "float32", {"box": 8})
    stack.append(np.ones((1, 8, 8), np.float32), {"rlnCoordinateX": ["1"]})
    stack.close()
    journal = tmp_path / "p.mrcs.partial/journal.jsonl"
    journal.write_text(journal.read_text() + line + "\n")
    with pytest.raises(GempickError, match=r"journal\.jsonl"):
        ParticleStack(tmp_path / "p.mrcs", 8, "float32", {"box": 8}, resume=True)


def test_lines_of_a_log(tmp_path):
    good = {"event": "share", "attempt": 1, "rank": 0, "time": 1.0, "images": 5, "seconds": 2.0}
    bad = [{**good, "time": "x"}, {**good, "images": -1}, {k: v for k, v in good.items() if k != "seconds"}, [good], 3]
    lines = [json.dumps(row) for row in (good, *bad, good)]
    (tmp_path / "attempt-001-rank-00000.jsonl").write_text("\n".join([*lines, "[" * 100_000, '{"event": "sha']))
    assert read_logs(tmp_path) == [good, good]


def test_a_setting_of_a_file_is_blamed_on_the_file(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"angle_step": "x"}')
    with pytest.raises(SettingsError, match=r"settings\.json: .*--angle-step"):
        merged(make_settings, read_settings, path, {})
    assert merged(make_settings, read_settings, path, {"angle_step": 4.0}).angle_step == 4.0
    with pytest.raises(SettingsError, match=r"^Wrong settings: --lowpass"):
        merged(make_settings, read_settings, path, {"lowpass": "x"})


def test_sentences_can_be_printed():
    sentence = InputError("a\nb\x1b[31m\udcff.mrc " + "x" * 10_000 + "; remedy.").sentence
    assert sentence.isprintable() and sentence.endswith("; remedy.") and len(sentence) < 2000
    assert sentence.startswith("a\\nb\\x1b[31m\\udcff.mrc ")


def test_blocks_of_one_name(tmp_path):
    (tmp_path / "many.star").write_text(CTF.split("data_micrographs")[0] * 3)
    assert list(read_tables(tmp_path / "many.star")) == ["optics", "optics (2)", "optics (3)"]


@pytest.mark.parametrize("name", ["lines.box", "lines.star", "lines.csv", "lines.txt"])
def test_a_file_of_one_endless_line(tmp_path, name):
    """To split it into millions of words takes all the time and memory that there is."""
    path = tmp_path / name
    path.write_text("10\t20\t24\t24\t-110\t" * 400_000 + "\n")
    begun = time.process_time()
    with pytest.raises(InputError, match="line of over a million characters"):
        read_coordinates(path)
    assert time.process_time() - begun < 60, "no more than to look at its bytes"
