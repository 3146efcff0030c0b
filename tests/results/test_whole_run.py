"""Automatic thresholds of a whole run: the same for any order, after a resumption, by retuning and from a job."""

import json
import shutil
import subprocess

import numpy as np
import pytest

import forked_python
from cluster_jobs import command, tree
from napari_gempick.cluster.collect import collect_job
from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.mpi.micrographs import Worker
from napari_gempick.cluster.records import RankLog
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.engine.picking.run_evidence import Scores
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import find_micrographs
from napari_gempick.results.folder import Results
from napari_gempick.verification import prove
from napari_gempick.workflows.pick import pick_files
from napari_gempick.workflows.retune import retune

SIZE = (300, 330)
FEW = "mic4"


def picks_of(run):
    return {row["name"]: row["picks"] for row in run["micrographs"]}


def test_the_poor_one_borrows_and_the_empty_one_stays_empty(data, settings, picked, tmp_path):
    _, run = picked
    assert picks_of(run)[FEW] == 1 and picks_of(run)["mic5"] == 0
    assert all(row["proof"] for row in run["micrographs"]), "proved in the first or in the second pass"
    (empty,) = (row for row in run["micrographs"] if row["name"] == "mic5")
    assert any("nothing is picked" in text for text in empty["remarks"])


def test_a_contrast_that_looks_wrong_is_said_after_the_last_step_too(data, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(Scores, "contrast_looks_wrong", lambda scores: True)
    run = pick_files(settings, find_micrographs([data / "mics"])[:2], tmp_path / "run")
    for row in (*run["micrographs"], *retune(tmp_path / "run", {"fdr": 0.1})["micrographs"]):
        assert any("check --contrast opposite" in text for text in row["remarks"])


def test_order_does_not_matter(data, settings, picked, tmp_path):
    folder, _ = picked
    pick_files(settings, find_micrographs([data / "mics"])[::-1], tmp_path / "other")
    assert tree(tmp_path / "other") == tree(folder)


@pytest.mark.parametrize(("which", "checked"), [("some", [0, 2, 4]), ("all", [0, 1, 2, 3, 4])])
def test_coordinates_are_checked_in_a_sample(data, settings, picked, tmp_path, monkeypatch, which, checked):
    """The first one, then every second one; the last micrograph has no picks."""
    monkeypatch.setattr(prove, "FIRST", 1)
    monkeypatch.setattr(prove, "EVERY", 2)
    chosen = settings.model_copy(update={"check_coordinates": which})
    run = pick_files(chosen, find_micrographs([data / "mics"]), tmp_path / "run")
    rows = [row for row in run["micrographs"] if row["picks"]]
    assert [number for number, row in enumerate(rows) if row.get("proof")] == checked
    assert tree(tmp_path / "run") == tree(picked[0])


def test_a_resumed_run_ends_with_the_same_bytes(data, settings, picked, tmp_path):
    folder, _ = picked
    files = find_micrographs([data / "mics"])
    pick_files(settings, files[:3], tmp_path / "run")
    assert tree(tmp_path / "run", ("run.json",)) != {}
    pick_files(settings, files, tmp_path / "run", resume=True)
    assert tree(tmp_path / "run") == tree(folder)


def test_files_that_have_vanished_are_noticed(settings, picked, tmp_path):
    folder, run = picked
    place = shutil.copytree(folder, tmp_path / "run")
    results = Results(place, settings, run["diameter"])
    assert results.missing(run["micrographs"]) == []
    gone = [place / "candidates" / "mic1.star", place / "mic3_autopick.star"]
    for path in gone:
        path.unlink()
    assert results.missing(run["micrographs"]) == gone


def test_retuning_to_the_same_thresholds_changes_nothing(picked, tmp_path):
    folder, run = picked
    shutil.copytree(folder, tmp_path / "run")
    retune(tmp_path / "run", {"threshold": ("0.9",)})
    assert tree(tmp_path / "run") != tree(folder)
    again = retune(tmp_path / "run", {"threshold": ("auto",)})
    assert tree(tmp_path / "run") == tree(folder) and picks_of(again) == picks_of(run)


def test_one_that_cannot_be_read_fails_alone(picked, tmp_path):
    folder, _ = picked
    shutil.copytree(folder, tmp_path / "run")
    said = []
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "excluded").mkdir()
    for row in record["micrographs"][1:]:
        excluded = np.zeros(SIZE, np.float32)
        write_mrc(tmp_path / "run" / "excluded" / f"{row['name']}.mrc.gz", excluded, 4.0)
    again = retune(tmp_path / "run", {"exclude": str(tmp_path / "run" / "excluded")}, said.append)
    assert "error" in again["micrographs"][0] and "exclusion mask" in said[0]
    assert all("error" not in row for row in again["micrographs"][1:])


def test_a_job_ends_with_the_same_bytes(data, settings, picked, tmp_path):
    """The ranks choose by each micrograph; collecting chooses by all, and the job finds its files as it left them."""
    folder, _ = picked
    export_job(settings, find_micrographs([data / "mics"]), tmp_path / "job", make_cluster({"site": "mpirun"}))
    subprocess.run(command(1, tmp_path / "job", python=forked_python.words), check=True, timeout=300)
    run, job = collect_job(tmp_path / "job"), open_job(tmp_path / "job")
    worker = Worker(job, RankLog(job.progress, 2, 0), alone=True)
    assert picks_of(run)[FEW] == 1
    assert tree(job.results) == tree(folder)
    assert all(worker.is_done(micrograph) for micrograph in job.micrographs)
    collect_job(job.folder, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(folder)
