"""What other programs write, through the command line: picks as from plain files; what was done is said and kept."""

from __future__ import annotations

import json
import os
import struct

import mrcfile
import numpy as np
import pytest

from napari_gempick.io.stack import write_mrc
from napari_gempick.io.star import read_tables, write_tables

OPTICS = {
    "rlnOpticsGroup": ["1"],
    "rlnVoltage": ["300"],
    "rlnSphericalAberration": ["2.7"],
    "rlnAmplitudeContrast": ["0.1"],
}


@pytest.fixture
def picked(gempick, basic, data):
    """Pick into a folder; returns run.json, the coordinates of the only micrograph, and what was said."""

    def run(*inputs, folder="out", options=basic, check=0):
        done = gempick("pick", *inputs, *options, "-o", folder, check=check)
        made = json.loads((data / folder / "run.json").read_text())
        names = [row["name"] for row in made["micrographs"] if "error" not in row]
        star = data / folder / f"{names[0]}_autopick.star"
        table = read_tables(star)[""] if "" in read_tables(star) else next(iter(read_tables(star).values()))
        return made, np.array([table["rlnCoordinateX"], table["rlnCoordinateY"]], float).T, done.stderr

    return run


def same_places(found, planted):
    return len(found) == len(planted) and all(min(np.hypot(*(found - place).T)) < 2 for place in planted)


def test_unsigned_bytes(picked, planted, data):
    image = np.asarray(mrcfile.read(data / "grid1/mic.mrc"), float)
    grey = np.clip((image - image.mean()) / image.std() * 30 + 128, 0, 255).astype("u1")
    write_mrc(data / "bytes.mrc", grey.view("i1"), 2.0)
    content = bytearray((data / "bytes.mrc").read_bytes())
    struct.pack_into("<3f", content, 76, float(grey.min()), float(grey.max()), float(grey.mean()))
    struct.pack_into("<2i", content, 152, 1146047817, 0)
    (data / "bytes.mrc").write_bytes(content)
    run, places, said = picked("bytes.mrc")
    assert same_places(places, planted)
    assert "bytes (MRC mode 0) were read as unsigned" in said
    assert "read as unsigned" in run["micrographs"][0]["notes"][0]


@pytest.mark.parametrize("header", [1.0, 0.0, 300.0])
def test_the_pixel_size_of_the_list(picked, planted, data, header):
    write_mrc(data / "Movies/mic.mrc", np.asarray(mrcfile.read(data / "grid1/mic.mrc")), header)
    rows = {"rlnMicrographName": ["Movies/mic.mrc"], "rlnOpticsGroup": ["1"]}
    write_tables(
        data / "Ctf/job3/m.star", {"optics": {**OPTICS, "rlnMicrographPixelSize": ["2.0"]}, "micrographs": rows}
    )
    run, places, said = picked("Ctf/job3/m.star")
    row = run["micrographs"][0]
    assert same_places(places, planted) and (row["pixel_size"], row["pixel_size_source"]) == (2.0, "the STAR file")
    differs = "gives a pixel size of 1 Å, but the STAR file gives 2 Å"
    assert (differs in said) == (header == 1.0) == any(differs in note for note in row.get("notes", []))


def test_lists_of_templates_with_empty_classes(picked, planted, data):
    template = np.asarray(mrcfile.read(data / "particle.mrc"))
    empty = np.zeros_like(template)
    write_mrc(data / "Class2D/c.mrcs", np.stack([empty, template, empty, template[::-1]]), 2.0, stack=True)
    names = {
        "rlnReferenceImage": ["000001@Class2D/c.mrcs", "000002@Class2D/c.mrcs"],
        "rlnClassDistribution": ["0", "1"],
    }
    write_tables(data / "Select/class_averages.star", {"": names})
    rest = ("--mask", "circle:130", "--angle-step", "15", "--threshold", "0.5")
    run, places, said = picked("grid1/mic.mrc", options=("--templates", "Select/class_averages.star", *rest))
    assert same_places(places, planted)
    assert run["views"][0]["name"] == "class_averages" and run["views"][0]["sections"] == 1
    assert run["views"][0]["images"] == [{"image": "000002@Class2D/c.mrcs", "class_distribution": 1.0}]
    assert "section 1 is empty and was left out" in said and "section 1 is empty" in run["hints"][0]
    run, one, _ = picked("grid1/mic.mrc", folder="one", options=("--templates", "000002@Class2D/c.mrcs", *rest))
    assert run["views"][0]["name"] == "c"
    np.testing.assert_array_equal(one, places)


def test_a_bad_defocus_fails_its_own_micrograph_only(picked, data, gempick):
    options = (
        "--templates",
        "particle=particle.mrc",
        "--mask",
        "circle:130",
        "--angle-step",
        "90",
        "--ctf",
        "ctf.star",
    )
    columns = {
        "rlnMicrographName": ["grid1/mic.mrc", "grid2/mic.mrc", "grid2/other.mrc"],
        "rlnOpticsGroup": ["1"] * 3,
        "rlnDefocusU": ["15000", "nan", "16000"],
        "rlnDefocusV": ["15000", "15000", "16000"],
        "rlnDefocusAngle": ["0", "0", "0"],
    }
    write_tables(data / "ctf.star", {"optics": OPTICS, "micrographs": columns})
    run, _, said = picked("grid1", "grid2", options=options, check=1)
    assert ["error" in row for row in sorted(run["micrographs"], key=lambda row: row["name"])] == [False, True, False]
    assert "values for grid2/mic.mrc cannot be right (nan and 15000" in said
    gempick("pick", "grid1/mic.mrc", *options, "-o", "alone", check=0)
    assert "cannot be right" in gempick("pick", "grid2/mic.mrc", *options, "-o", "bad", check=2).stderr


def test_what_a_folder_holds_besides_is_said_and_kept(picked, planted, data):
    image = np.asarray(mrcfile.read(data / "grid1/mic.mrc"))
    for name in ("mic_noDW", "mic_PS", "mic_EVN"):
        write_mrc(data / f"grid1/{name}.mrc", image, 2.0)
    write_mrc(data / "grid1/map.mrc", np.stack([image[:30, :30]] * 30), 2.0)
    os.mkfifo(data / "grid1/pipe.mrc")
    run, places, said = picked("grid1", check=1)
    assert same_places(places, planted) and len(run["notes"]) == 2
    assert {row["name"]: "error" in row for row in run["micrographs"]} == {"mic": False, "pipe": True}
    assert "mic_EVN.mrc, mic_PS.mrc, mic_noDW.mrc" in run["notes"][0] and run["notes"][0] in said
    assert "map.mrc" in run["notes"][1] and "is a pipe, not a regular file" in said


def test_a_job_carries_the_pixel_sizes_and_the_images_of_a_list(gempick, data, planted):
    from napari_gempick.cluster.folder import open_job
    from napari_gempick.inputs.bank_maker import BankMaker, loader
    from napari_gempick.inputs.views import read_views

    template = np.asarray(mrcfile.read(data / "particle.mrc"))
    write_mrc(data / "Class2D/c.mrcs", np.stack([0 * template, template]), 2.0, stack=True)
    names = [f"00000{n}@Class2D/c.mrcs" for n in (1, 2)]
    write_tables(data / "s.star", {"": {"rlnReferenceImage": names, "rlnClassDistribution": ["0.25", "0.75"]}})
    write_mrc(data / "Movies/mic.mrc", np.asarray(mrcfile.read(data / "grid1/mic.mrc")), 1.0)
    rows = {"rlnMicrographName": ["Movies/mic.mrc"], "rlnMicrographPixelSize": ["2.0"]}
    write_tables(data / "m.star", {"micrographs": rows})
    options = (
        "--templates",
        "s=s.star",
        "--templates",
        "t=000002@Class2D/c.mrcs",
        "--diameter",
        "130",
        "--angle-step",
        "90",
    )
    gempick("job", "export", "m.star", *options, "-o", "job", check=0)
    os.rename(data / "job", data / "moved")
    os.rename(data / "Class2D", data / "gone")
    job = open_job(data / "moved")
    assert job.content["micrographs"][0]["pixel_size"] == 2.0
    views = read_views(job.settings)
    assert [len(view.templates) for view in views] == [1, 1]
    np.testing.assert_array_equal(views[0].templates[0], template.astype(np.float32))
    assert views[0].images[0]["class_distribution"] == 0.75
    source = loader(job.micrographs[0], job.settings, BankMaker(job.settings, views))
    assert source.grid.pixel_size == 2.0 and "but the STAR file gives 2 Å" in source.notes[0]
    job.check_files()
