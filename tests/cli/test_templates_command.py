"""gempick templates as a user runs it."""

import json

import mrcfile
import numpy as np
import pytest

from napari_gempick.engine.orientations import euler_matrix
from napari_gempick.engine.phantom import klh
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.stack import write_mrc
from napari_gempick.io.star import read_tables

MAP_SPACING, SPACING = 10.0, 8.0


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_mrc(tmp_path / "map.mrc", klh().density(56, MAP_SPACING), MAP_SPACING)
    return tmp_path


def test_project_writes_stack_masks_and_angles(here, gempick):
    done = gempick(
        "templates", "project", "map.mrc", "-o", "out/views.mrcs", "--symmetry", "D5", "--angle-step", 30,
        "--pixel-size", SPACING, "--lowpass", 20, "--view", "side=0,90", "--view", "top=0,0", "--json", check=0,
    )  # fmt: skip
    made = json.loads(done.stdout)
    with mrcfile.open(here / "out/views.mrcs") as stack, mrcfile.open(here / "out/views_mask.mrcs") as masks:
        assert stack.is_image_stack() and stack.voxel_size.x == pytest.approx(SPACING)
        assert stack.data.shape == masks.data.shape == (made["views"], 70, 70)
        images = stack.data.copy()
    tables = read_tables(here / "out/views.star")
    assert tables["optics"]["rlnImagePixelSize"] == ["8"]
    particles = tables["particles"]
    assert particles["rlnImageName"][0] == "000001@out/views.mrcs"
    for number, image in enumerate(images):
        angles = [float(particles[f"rlnAngle{name}"][number]) for name in ("Rot", "Tilt", "Psi")]
        assert angles == pytest.approx(made["angles"][number])
        exact = klh().projection(euler_matrix(*angles), (70, 70), SPACING)
        assert np.corrcoef(image.ravel(), exact.ravel())[0, 1] > 0.99
    assert made["symmetry_fit"] > 0.9 and not made["notes"]
    side = mrcfile.read(here / "out/views_side.mrc")
    assert side.shape == (70, 70) and (here / "out/views_top_mask.mrc").exists()
    again = gempick("templates", "project", "map.mrc", "-o", "out/views.mrcs", check=2)
    assert "--overwrite" in again.stderr


def test_named_views_alone_fill_the_stack(here, gempick):
    gempick("templates", "project", "map.mrc", "-o", "v.mrcs", "--view", "top=0,0", "--contrast", "opposite", check=0)
    stack, single = mrcfile.read(here / "v.mrcs"), mrcfile.read(here / "v_top.mrc")
    assert stack.size == 56 * 56 and np.array_equal(stack.reshape(56, 56), single)
    assert single[28, 28] > single.min() and single.min() < 0 and abs(single.max()) < 0.05 * abs(single.min())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--symmetry", "X2"), "no symmetry that is known"),
        (("--view", "side"), "NAME=ROT,TILT"),
        (("--view", "a/b=1,2"), "NAME=ROT,TILT"),
        (("--views", "30000"), "cannot be made"),
        (("--views", "3", "--angle-step", "9"), "exclude each other"),
        (("--symmetry", "O"), "does not look O"),
    ],
)
def test_project_says_what_is_wrong(here, gempick, arguments, sentence):
    done = gempick("templates", "project", "map.mrc", "-o", "out.mrcs", *arguments)
    assert sentence in done.stderr
    assert done.returncode == (0 if "does not look" in sentence else 2)


def test_planted_particles_are_found_with_projections(here, gempick):
    """Dark particles at known angles: position, view and psi come back, psi within half a step."""
    step, rng = 10, np.random.default_rng(0)
    planted = {(60, 62): 20.0, (150, 70): 95.0, (70, 160): 140.0, (155, 150): 265.0}
    image = 60 * rng.standard_normal((220, 216)).astype(np.float32)
    for (x, y), psi in planted.items():
        image -= klh().projection(euler_matrix(8, 70, psi), image.shape, SPACING, (x, y))
    write_mrc(here / "mic.mrc", image, SPACING)
    gempick(
        "templates", "project", "map.mrc", "-o", "t.mrcs", "--view", "tilted=8,70", "--pixel-size", SPACING, check=0
    )
    gempick(
        "pick", "mic.mrc", "--templates", "tilted=t_tilted.mrc", "--mask", "tilted=t_tilted_mask.mrc", "--contrast",
        "opposite", "--angle-step", step, "-o", "out", check=0,
    )  # fmt: skip
    picks = read_coordinates(here / "out/mic_autopick.star").picks
    assert len(picks) == 4
    for (x, y), psi in planted.items():
        nearest = np.hypot(picks.x - x, picks.y - y).argmin()
        assert np.hypot(picks.x[nearest] - x, picks.y[nearest] - y) < 0.6
        assert abs((picks.psi[nearest] - psi + 180) % 360 - 180) <= step / 2


def test_average_of_selected_picks(here, gempick):
    """Two micrographs with picks of two views; the average of one view finds that view alone."""
    rng, psis = np.random.default_rng(1), (10.0, 100.0, 215.0, 300.0)
    places = [(70, 70), (70, 150), (150, 70), (150, 150)]
    for number in (1, 2):
        image = 60 * rng.standard_normal((220, 220)).astype(np.float32)
        rows = ["x,y,view"]
        for i, ((x, y), psi) in enumerate(zip(places, psis, strict=True)):
            view = ("side", "top")[i % 2]
            image -= klh().projection(euler_matrix(0, 90 * (view == "side"), psi), image.shape, SPACING, (x, y))
            rows.append(f"{x + rng.uniform(-2, 2):.1f},{y + rng.uniform(-2, 2):.1f},{view}")
        write_mrc(here / f"m{number}.mrc", image, SPACING)
        (here / f"clicks/m{number}.csv").parent.mkdir(exist_ok=True)
        (here / f"clicks/m{number}.csv").write_text("\n".join([*rows, "3,3,top"]) + "\n")
    for view in ("side", "top"):
        done = gempick(
            "templates", "average", "m1.mrc", "m2.mrc", "clicks", "-o", f"{view}.mrc", "--select", f"view={view}",
            "--diameter", 400, "--json", check=0,
        )  # fmt: skip
        made = json.loads(done.stdout)
        assert made["particles"] == 4 and made["left_out_at_edges"] == 2 * (view == "top") and made["box"] == 76
        particles = read_tables(here / f"{view}.star")["particles"]
        assert len(set(particles["rlnMicrographName"])) == 2
    templates = ("--templates", "side=side.mrc", "top=top.mrc", "--mask", "side=side_mask.mrc", "top=top_mask.mrc")
    gempick("pick", "m1.mrc", *templates, "--angle-step", 10, "--threshold", 0.5, "-o", "out", check=0)
    picks = read_coordinates(here / "out/m1_autopick.star").picks
    assert len(picks) == 4
    for i, (x, y) in enumerate(places):
        nearest = np.hypot(picks.x - x, picks.y - y).argmin()
        assert np.hypot(picks.x[nearest] - x, picks.y[nearest] - y) < 2.5 and picks.section[nearest] == i % 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--select", "view=none", "--box", "40"), "has no such picks"),
        (("--select", "kind=1", "--box", "40"), "has no column kind"),
        (("--select", "view", "--box", "40"), "COLUMN=VALUE"),
        ((), "--box"),
        (("--box", "40", "--use-psi"), "does not give psi"),
        (("--box", "60", "--classes", "3"), "not enough for 3 classes"),
    ],
)
def test_average_says_what_is_wrong(tmp_path, monkeypatch, gempick, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    write_mrc(tmp_path / "m.mrc", np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32), 2.0)
    (tmp_path / "m.csv").write_text("x,y,view\n50,50,side\n45,55,side\n")
    done = gempick("templates", "average", "m.mrc", "m.csv", "-o", "out.mrc", *arguments, check=2)
    assert sentence in done.stderr and not (tmp_path / "out.mrc").exists()
