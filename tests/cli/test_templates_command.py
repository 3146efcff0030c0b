"""gempick templates as a user runs it."""

import json

import mrcfile
import numpy as np
import pytest

from napari_gempick.engine.templates.projection import euler_matrix
from napari_gempick.inputs.views import read_views
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.stack import write_mrc
from napari_gempick.io.star import read_tables
from napari_gempick.model.settings import PickSettings
from napari_gempick.simulation.scene import klh

MAP_SPACING, SPACING = 10.0, 8.0


@pytest.fixture(scope="module")
def density():
    return klh().density(56, MAP_SPACING)


@pytest.fixture
def here(tmp_path, monkeypatch, density):
    monkeypatch.chdir(tmp_path)
    write_mrc(tmp_path / "map.mrc", density, MAP_SPACING)
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
    assert side.shape == (70, 70)
    for name in ("side", "top"):
        image, mask = mrcfile.read(here / f"out/views_{name}.mrc"), mrcfile.read(here / f"out/views_{name}_mask.mrc")
        area = np.count_nonzero(image > 0.05 * image.max())
        assert area < mask.sum() < 1.5 * area, "a named view has a mask of its own"
    again = gempick("templates", "project", "map.mrc", "-o", "out/views.mrcs", check=2)
    assert "--overwrite" in again.stderr


def test_named_views_alone_fill_the_stack(here, gempick):
    gempick("templates", "project", "map.mrc", "-o", "v.mrcs", "--view", "top=0,0", "--invert", check=0)
    stack, single = mrcfile.read(here / "v.mrcs"), mrcfile.read(here / "v_top.mrc")
    assert stack.size == 56 * 56 and np.array_equal(stack.reshape(56, 56), single)
    assert single[28, 28] > single.min() and single.min() < 0 and abs(single.max()) < 0.05 * abs(single.min())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--symmetry", "X2"), "not a known symmetry"),
        (("--view", "side"), "NAME=ROT,TILT"),
        (("--view", "a/b=1,2"), "NAME=ROT,TILT"),
        (("--views", "30000"), "cannot be made"),
        (("--views", "3", "--angle-step", "9"), "cannot be combined"),
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
    done = gempick(
        "templates",
        "average",
        "m1.mrc",
        "out",
        "-o",
        "again.mrc",
        "--select",
        "view=top",
        "--box",
        76,
        "--json",
        check=0,
    )
    assert json.loads(done.stdout)["particles"] == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--select", "view=none", "--box", "40"), "has no such picks"),
        (("--select", "kind=1", "--box", "40"), "has no column kind"),
        (("--select", "view", "--box", "40"), "COLUMN=VALUE"),
        ((), "--box"),
        (("--box", "40", "--use-psi"), "does not give psi"),
        (("--box", "40.5"), "40.5 is not a whole number"),
        (("--box", "80A", "--max-shift", "5px", "--use-psi"), "does not give psi"),
        (("--diameter", "30px", "--use-psi"), "does not give psi"),
        (("--box", "60", "--classes", "3"), "not enough for 3 classes"),
    ],
)
def test_average_says_what_is_wrong(tmp_path, monkeypatch, gempick, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    write_mrc(tmp_path / "m.mrc", np.random.default_rng(0).standard_normal((100, 100)).astype(np.float32), 2.0)
    (tmp_path / "m.csv").write_text("x,y,view\n50,50,side\n45,55,side\n")
    done = gempick("templates", "average", "m.mrc", "m.csv", "-o", "out.mrc", *arguments, check=2)
    assert sentence in done.stderr and not (tmp_path / "out.mrc").exists()


def test_shapes_have_the_sizes_asked_for(tmp_path, monkeypatch, gempick):
    monkeypatch.chdir(tmp_path)
    shapes = ("gaussian:60", "disc:80", "ring:90x50", "rectangle:100x40")
    gempick("templates", "shapes", *shapes, "-o", "s.mrcs", "--pixel-size", 2, check=0)
    blob, disc, ring, rectangle = stack = mrcfile.read(tmp_path / "s.mrcs").astype(float)
    assert stack.shape == (4, 90, 90) and all(one[45, 45] == pytest.approx(1, abs=0.02) for one in (blob, disc))
    assert blob[45, 45 + 15] == pytest.approx(0.5, abs=0.01) and ring[45, 45] == 0
    for one, area in ((disc, np.pi * 40**2), (ring, np.pi * (45**2 - 25**2)), (rectangle, 4000)):
        assert 4 * one.sum() == pytest.approx(area, rel=0.02)
        rows, columns = np.indices(one.shape)
        assert (rows * one).sum() / one.sum() == pytest.approx(45, abs=0.01)
        assert (columns * one).sum() / one.sum() == pytest.approx(45, abs=0.01)
    assert rectangle.sum(axis=1).max() == pytest.approx(50) and rectangle.sum(axis=0).max() == pytest.approx(20)
    gempick("templates", "shapes", "disc:80", "-o", "d.mrc", "--pixel-size", 2, "--invert", check=0)
    assert np.allclose(mrcfile.read(tmp_path / "d.mrc")[5:55, 5:55], -disc[20:70, 20:70], atol=1e-5)
    for wrong in ("disc:0", "ring:50x90", "cone:4", "ring:50", "disc:1.2.3"):
        done = gempick("templates", "shapes", wrong, "-o", "w.mrc", "--pixel-size", 2, check=2)
        assert "is not a shape" in done.stderr


@pytest.mark.parametrize(
    ("made", "options", "advice"),
    [
        ("bright.mrc", {}, "give --contrast opposite unless"),
        ("bright.mrc[1]", {}, "give --contrast opposite unless"),
        ("list.star", {}, "give --contrast opposite unless"),
        ("bright.mrc", {"contrast": "opposite"}, ""),
        ("bright.mrc", {"ctf": "ctf.star"}, ""),
        ("dark.mrc", {}, ""),
        ("dark.mrc", {"contrast": "opposite"}, "omit --contrast opposite"),
        ("dark.mrc", {"ctf": "ctf.star"}, "without --invert"),
        ("foreign.mrc", {}, ""),
        ("foreign.mrc", {"contrast": "opposite"}, ""),
    ],
)
def test_the_header_of_templates_tells_their_contrast(tmp_path, monkeypatch, gempick, made, options, advice):
    """--contrast means that of the micrographs; --invert changes the sign of templates, and their header says which."""
    monkeypatch.chdir(tmp_path)
    gempick("templates", "shapes", "disc:80", "-o", "bright.mrc", "--pixel-size", 2, check=0)
    gempick("templates", "shapes", "disc:80", "-o", "dark.mrc", "--pixel-size", 2, "--invert", check=0)
    bright, dark = mrcfile.read("bright.mrc"), mrcfile.read("dark.mrc")
    assert np.array_equal(bright, -dark) and bright.sum() > 0
    write_mrc("foreign.mrc", bright, 2.0)
    (tmp_path / "list.star").write_text("data_\n\nloop_\n_rlnImageName\n1@bright.mrc\n")
    (view,) = read_views(PickSettings(templates=(f"disc={made}",), **options))
    assert advice in "".join(view.notes) and bool(view.notes) == bool(advice)


def test_pick_says_where_the_contrast_of_templates_is_the_wrong_one(here, gempick):
    """The option decides, as always; the header only makes it say so."""
    write_mrc(here / "mic.mrc", np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32), SPACING)
    gempick("templates", "project", "map.mrc", "-o", "t.mrcs", "--views", 2, check=0)
    for name, more in (("a", ()), ("b", ("--contrast", "opposite"))):
        done = gempick("pick", "mic.mrc", "--templates", "t.mrcs", "--lowpass", 40, *more, "-o", name, check=0)
        assert ("t.mrcs is protein-bright, as its header says" in done.stderr) == (not more)
    a, b = (json.loads((here / name / "run.json").read_text()) for name in "ab")
    assert a["settings"]["contrast"] == "same" and [len(run["hints"]) for run in (a, b)] == [1, 0]


def test_rotated_stacks_are_those_of_the_search(here, gempick):
    project = ("templates", "project", "map.mrc", "-o", "t.mrcs", "--view", "side=0,90", "--view", "top=0,0")
    gempick(*project, check=0)
    common = ("--templates", "side=t_side.mrc", "top=t_top.mrc", "--mask", "side=rectangle:400x360", "top=circle:360")
    done = gempick("templates", "rotate", *common, "--angle-step", 45, "-o", "rot", "--json", check=0)
    made = json.loads(done.stdout)
    assert [view["search_images"] for view in made["views"].values()] == [8, 8] and made["masks_in_all"] == 5
    templates, masks = (mrcfile.read(here / f"rot/side_{kind}.mrcs") for kind in ("templates", "masks"))
    assert templates.shape == masks.shape == (8, *made["box"])
    cy, cx = made["centre"]
    for template, mask in zip(templates.astype(float), masks.astype(float), strict=True):
        area = mask.sum()
        assert abs(template.sum()) < 1e-5 and (template**2).sum() * area == pytest.approx(1, rel=1e-3)
        assert not template[mask == 0].any()
    quarter = np.rot90(templates[0][cy - 20 : cy + 21, cx - 20 : cx + 21])
    assert np.allclose(quarter, templates[2][cy - 20 : cy + 21, cx - 20 : cx + 21], atol=1e-5)
    particles = read_tables(here / "rot/top.star")["particles"]
    assert particles["gempickSearchImage"][0] == "8" and particles["rlnAnglePsi"][3] == "135"
    assert "--overwrite" in gempick("templates", "rotate", *common, "-o", "rot", check=2).stderr


def test_check_measures_what_chance_does(here, gempick):
    """Noise looks like the template by selection, less than particles do; and noise is not picked at the threshold."""
    rng = np.random.default_rng(3)
    image = 250 * rng.standard_normal((420, 420)).astype(np.float32)
    for x in range(60, 400, 75):
        for y in range(60, 400, 75):
            image -= klh().projection(euler_matrix(0, 90, rng.uniform(0, 360)), image.shape, SPACING, (x, y))
    write_mrc(here / "mic.mrc", image, SPACING)
    gempick("templates", "project", "map.mrc", "-o", "t.mrcs", "--view", "side=0,90", check=0)
    arguments = ("--templates", "side=t_side.mrc", "--mask", "circle:460", "--contrast", "opposite")
    more = ("--angle-step", 15, "--threshold", 0.35, "--particles", 20, "-o", "averages", "--json")
    (view,) = json.loads(gempick("templates", "check", "mic.mrc", *arguments, *more, check=0).stdout)["views"]
    assert view["picks"] >= 5 * max(1, view["picks_in_noise"])
    assert view["likeness"] > 0.85 and 0.1 < view["likeness_of_noise"] < view["likeness"] - 0.1
    assert mrcfile.read(here / "averages/side_check.mrcs").shape == (3, 56, 56)
