"""The learned score of a whole run: by pick, retune and job, by labels of every kind, back to the NCC."""

import csv
import json
import shutil
import subprocess

import numpy as np
import pytest

import forked_python
from cluster_jobs import command, tree
from napari_gempick.cluster.collect import collect_job
from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.engine.picking.learned import FEATURES, NCC_ONLY
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import find_micrographs
from napari_gempick.io.star import read_table
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.results import learned_score
from napari_gempick.results.folder import Results
from napari_gempick.results.learned_score import Labels, read_labels
from napari_gempick.results.run_file import micrograph_of, settings_of
from napari_gempick.workflows.pick import pick_files
from napari_gempick.workflows.retune import retune


@pytest.fixture(scope="module")
def learned(data, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned") / "run"
    chosen = settings.model_copy(update={"score": "learned"})
    return folder, pick_files(chosen, find_micrographs([data / "mics"]), folder)


@pytest.fixture
def copy(picked, tmp_path):
    return shutil.copytree(picked[0], tmp_path / "copy")


def weights_of(run):
    return run["learned"]["weights"]


def test_the_score_that_chose_is_written_and_the_ncc_beside_it(learned, picked):
    folder, run = learned
    weights = weights_of(run)
    assert tuple(weights) == FEATURES and sum(map(abs, weights.values())) == pytest.approx(1, abs=0.01)
    assert weights["ncc"] > 0.2 and weights["power"] != 0 and run["learned"]["labels"] == 0
    assert all(number >= 15 for number in run["learned"]["particles"])
    table = read_table(folder / "mic0_autopick.star")
    score, ncc, false = (
        np.array(table[name], float) for name in ("rlnAutopickFigureOfMerit", "gempickNCC", "gempickProbabilityFalse")
    )
    candidates = read_candidates(folder / "candidates" / "mic0.star").picks
    assert (np.diff(score) <= 0).all() and (np.abs(score - ncc) > 1e-4).any()
    assert set(ncc.astype(np.float32)) <= set(candidates.score), "the candidates keep the NCC"
    assert ((false >= 0) & (false <= 1)).all()
    for section in set(table["rlnClassNumber"]):  # of one view each
        own = false[np.array(table["rlnClassNumber"]) == section]
        assert (np.diff(own) >= -1e-12).all(), "a lower score is not less likely to be false"
    assert "learned" not in picked[1]


def test_the_particles_are_found_and_the_empty_one_stays_empty(learned, picked):
    found = {row["name"]: row["picks"] for row in learned[1]["micrographs"]}
    before = {row["name"]: row["picks"] for row in picked[1]["micrographs"]}
    assert found["mic5"] == 0 and found["mic4"] <= 1
    assert all(abs(found[name] - before[name]) <= 2 for name in ("mic0", "mic1", "mic2", "mic3"))


def test_order_does_not_matter(data, settings, learned, tmp_path):
    chosen = settings.model_copy(update={"score": "learned"})
    pick_files(chosen, find_micrographs([data / "mics"])[::-1], tmp_path / "other")
    assert tree(tmp_path / "other") == tree(learned[0])


def test_retuning_learns_the_same_and_goes_back(copy, learned, picked):
    run = retune(copy, {"score": "learned"})
    assert tree(copy) == tree(learned[0]) and run["learned"] == learned[1]["learned"]
    assert "learned" not in retune(copy, {"score": "ncc"}) and tree(copy) == tree(picked[0])


def test_one_threshold_for_all(copy):
    run = retune(copy, {"score": "learned", "threshold": ("auto",)}, pooled=True)
    assert run["learned"]["weights"]["ncc"] > 0.2
    assert len({json.dumps(row["thresholds"]) for row in run["micrographs"]}) == 1


def test_a_job_ends_with_the_same_bytes(data, settings, learned, tmp_path):
    chosen = settings.model_copy(update={"score": "learned"})
    export_job(chosen, find_micrographs([data / "mics"]), tmp_path / "job", make_cluster({"site": "mpirun"}))
    subprocess.run(command(1, tmp_path / "job", python=forked_python.words), check=True, timeout=300)
    run = collect_job(tmp_path / "job")
    assert tree(tmp_path / "job" / "results") == tree(learned[0])
    assert run["learned"] == learned[1]["learned"]


def labelled(copy, name="mic0", good=8, bad=8):
    """Some candidates far above and some far below: x, y, label."""
    picks = read_candidates(copy / "candidates" / f"{name}.star").picks
    ends = [*range(good), *range(len(picks) - bad, len(picks))]
    return [(picks.x[i], picks.y[i], "good" if i < good else "bad") for i in ends]


def test_no_micrograph_is_scored_by_what_it_taught(copy, monkeypatch):
    """Of each group of micrographs the weights come from the others; only what a person said holds everywhere."""
    taught = []
    monkeypatch.setattr(learned_score, "teach", lambda lessons: taught.append(lessons) or NCC_ONLY)
    run = json.loads((copy / "run.json").read_text())
    results = Results(copy, settings_of(copy, run), run["diameter"])
    files = [micrograph_of(row) for row in run["micrographs"]]
    stored = {one.output_stem: read_candidates(results.candidates(one)) for one in files}
    labels = {"mic0": Labels(stored["mic0"].picks.x[:2], stored["mic0"].picks.y[:2], np.array([True, False]))}
    made = learned_score.learn(results, files, lambda one: stored[one.output_stem], labels)
    assert len(taught) == len(made.folds) == 5 and made.labels == 2
    for fold, lessons in enumerate(taught):
        own = [stem for stem, of in made.fold_of.items() if of == fold]
        rows = np.concatenate([lesson.candidates[:, 0] for lesson in lessons]).astype(np.float32)
        for stem in own:
            assert not np.isin(stored[stem].picks.score[:20], rows).any()
        assert sum(len(lesson.good) for lesson in lessons) == 2


def test_labels_say_what_the_person_said(copy, tmp_path):
    (tmp_path / "labels.csv").write_text("Micrograph,x,y,Label\nmic0.mrc,10,20,good\nmics/mic1,30,40.5,Bad\n")
    files = [micrograph_of(row) for row in json.loads((copy / "run.json").read_text())["micrographs"]]
    found = read_labels([tmp_path / "labels.csv"], files, lambda one: copy, {}, {})
    assert {stem: (one.x.tolist(), one.y.tolist(), one.good.tolist()) for stem, one in found.items()} == {
        "mic0": ([10.0], [20.0], [True]),
        "mic1": ([30.0], [40.5], [False]),
    }


def test_labels_in_a_table(copy, tmp_path):
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("micrograph", "x", "y", "label"), *(("mic0.mrc", *row) for row in labelled(copy))])
    run = retune(copy, {"score": "learned"}, teach=[tmp_path / "labels.csv"])
    assert run["learned"]["labels"] == 16


def test_labels_that_are_not_given_again_are_named(copy, tmp_path):
    picks, said = read_candidates(copy / "candidates" / "mic0.star").picks, []
    (tmp_path / "labels.csv").write_text(f"micrograph,x,y,label\nmic0,{picks.x[0]},{picks.y[0]},bad\n")
    assert retune(copy, {"score": "learned"}, teach=[tmp_path / "labels.csv"])["learned"]["labels"] == 1
    retune(copy, {"score": "learned"}, said.append)
    assert any("labels of the earlier retune are not used" in sentence for sentence in said)


def test_one_bad_mask_fails_its_own_micrograph(copy):
    (copy / "excluded").mkdir()
    for number in range(1, 6):
        write_mrc(copy / "excluded" / f"mic{number}.mrc.gz", np.zeros((300, 330), np.float32), 4.0)
    run = retune(copy, {"score": "learned", "exclude": str(copy / "excluded")})
    assert ["error" in row for row in run["micrographs"]] == [True, False, False, False, False, False]


def test_labels_of_a_session(copy, learned):
    rows = labelled(copy)
    edits = {
        "rejected": [(x, y) for x, y, label in rows if label == "bad"],
        "added": [{"x": x, "y": y} for x, y, label in rows if label == "good"],
    }
    (copy / "session.json").write_text(json.dumps({"state": {"edits": {"mic0": edits}}}))
    run = retune(copy, {"score": "learned"}, teach=[copy])
    assert run["learned"]["labels"] == 16 and weights_of(run) != weights_of(learned[1])


def test_corrected_picks_are_labels(copy, tmp_path):
    """A person took away the last three picks: these are bad, the others good."""
    before = (copy / "mic0_autopick.star").read_text().rstrip("\n").split("\n")
    number = len(read_table(copy / "mic0_autopick.star")["rlnCoordinateX"])
    (tmp_path / "corrected").mkdir()
    (tmp_path / "corrected" / "mic0_autopick.star").write_text("\n".join(before[:-3]) + "\n")
    run = retune(copy, {"score": "learned"}, teach=[tmp_path / "corrected"])
    assert run["learned"]["labels"] == number


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("micrograph,x,y,label\nmic0,10,10,perhaps\n", "write good or bad"),
        ("micrograph,x,label\nmic0,10,good\n", "column y"),
        ("micrograph,x,y,label\nother,10,10,good\n", "no labels of the micrographs"),
        ("micrograph,x,y,label\nmic0,ten,10,good\n", "labels.csv"),
        ("micrograph,x,y,label\nmic0,,10,good\n", "without x or y"),
        ("micrograph,x,y,label\nmic0,nan,10,good\n", "without x or y"),
    ],
)
def test_wrong_labels_are_named(copy, picked, tmp_path, text, sentence):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        retune(copy, {"score": "learned"}, teach=[tmp_path / "labels.csv"])
    assert tree(copy) == tree(picked[0])


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere.star", "nowhere"])
def test_labels_that_are_not_there(copy, tmp_path, name):
    with pytest.raises(InputError, match=name):
        retune(copy, {"score": "learned"}, teach=[tmp_path / name])


def test_labels_need_the_learned_score(copy, tmp_path):
    (tmp_path / "labels.csv").write_text("micrograph,x,y,label\nmic0,10,10,good\n")
    with pytest.raises(SettingsError, match="--score learned"):
        retune(copy, {}, teach=[tmp_path / "labels.csv"])
