"""Every command and every Python example of the documentation, in the order of each page, on the sample data."""

import contextlib
import doctest
import io
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import starfile
from click.testing import CliRunner

from napari_gempick.cli import main
from napari_gempick.verification.parsers import read_plainly

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALLS = "installs software"
SCHEDULER = "needs a scheduler; tests/cluster runs it"
ARRIVALS = "waits for micrographs that a microscope writes; tests/cli/test_watch_command.py runs it"
MEASURED = "measured, minutes long"
NOT_RUN = {
    "make ": INSTALLS,
    "pip ": INSTALLS,
    "python3 -m venv ": INSTALLS,
    ". .venv/bin/activate": INSTALLS,
    "gempick gui": "opens a window; tests/widgets",
    "gempick job submit ": SCHEDULER,
    "gempick job status ": SCHEDULER,
    "gempick job collect ": SCHEDULER,
    "gempick watch ": ARRIVALS,
    "*/10 * * * * cd /data/session": ARRIVALS,
    "python benchmarks/": MEASURED,
    "accuracy.md": f"real micrographs, {MEASURED}",
    "performance.md": f"real micrographs, {MEASURED}",
}
"""What is not run: the beginning of a command, or a page, and why. What is not named here is run."""
SHOWN = {"text", "json", "ini", "jinja"}
"""Languages of blocks that are only read: formulas, parts of files, what differs from computer to computer."""
CHECKER, LOOSELY = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the name of the file that it shows, and its text."""

    language: str
    file: str
    text: str


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r'^```(\w*)(?: title="(.+?)")?\n(.*?)^```$', text, flags=re.MULTILINE | re.DOTALL)
    assert 2 * len(found) == len(re.findall("^ *```", text, flags=re.MULTILINE)), f"{page}: an odd block"
    return [Block(*parts) for parts in found]


def commands_of(block):
    joined = re.sub(r"\\\n\s*", "", block.text)
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def reason_not_to_run(page, command):
    return next((why for start, why in NOT_RUN.items() if page.name == start or command.startswith(start)), None)


def run(command, statuses=(0,)):
    """Run a command in the current folder; returns what it prints, on stdout and in all."""
    if not command.startswith("gempick "):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout, done.stdout + done.stderr
    result = CliRunner().invoke(main, shlex.split(command)[1:])
    assert result.exit_code in statuses, f"{command}\n{result.output}"
    return result.stdout, result.output


def run_once(command, kept):
    """Run a search of the sample data, or take what it has written for an earlier page, in the same folder."""
    folder, searches = kept
    shared = sum(command in commands_of(block) for page in PAGES for block in blocks_of(page)) > 1
    if not (shared and command.startswith("gempick pick sample_data/") and "=sample_data/" in command):
        return run(command)
    output = Path(shlex.split(command)[-1])
    if command not in searches:
        searches[command] = folder / f"search_{len(searches)}", run(command)
        shutil.copytree(output, searches[command][0])
    else:
        shutil.copytree(searches[command][0], output)
    return searches[command][1]


def run_python(block, known):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.text, "example", "exec"), known)
    return printed.getvalue(), printed.getvalue()


def write_exposures(path, names):
    """Write cryoSPARC's table of micrographs: a structured array of NumPy."""
    columns = [("uid", "u8"), ("micrograph_blob/path", "S80"), ("micrograph_blob/shape", "u4", (2,))]
    rows = [(100 + number, name.encode(), (1024, 1024)) for number, name in enumerate(names, start=1)]
    with path.open("wb") as stream:
        np.save(stream, np.array(rows, dtype=columns))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder in which every page begins anew, and the results of searches that several pages begin with."""
    return tmp_path_factory.mktemp("pages"), {}


@pytest.fixture
def project(kept, monkeypatch):
    """A folder with the sample data and what a user brings: a folder Micrographs, a map, exposures of cryoSPARC."""
    tmp_path = kept[0] / "project"
    shutil.rmtree(tmp_path, ignore_errors=True)
    data = tmp_path / "sample_data"
    shutil.copytree(ROOT / "sample_data", data, ignore=shutil.ignore_patterns("*.py", "*.md"))
    (tmp_path / "Micrographs").mkdir()
    shutil.copy(data / "micrograph_002.mrc", tmp_path / "Micrographs")
    shutil.copy(data / "map.mrc", tmp_path / "map.mrc")
    write_exposures(tmp_path / "exposures.cs", [f"J2/imported/{n:021d}_micrograph_{n:03d}.mrc" for n in (1, 2)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("COLUMNS", "120")


def truth_of(number):
    """Centres of the particles of a sample micrograph, (n, 2) x and y in px, those to be ignored among them."""
    return np.loadtxt(f"sample_data/micrograph_{number:03d}_truth.csv", delimiter=",", skiprows=1, usecols=(0, 1))


def near(at, number):
    """Whether nearly all positions, (n, 2) in px, lie on particles of a micrograph."""
    away = np.linalg.norm(np.asarray(at)[:, None] - truth_of(number), axis=2).min(axis=1)
    return np.mean(away < 10) > 0.95


def check_relion():
    """What RELION reads, by readers that are not ours: starfile, and the plain parsers of the verification."""
    xy = ["rlnCoordinateX", "rlnCoordinateY"]
    index = starfile.read("picks/autopick.star")
    assert list(index["rlnMicrographName"]) == [f"sample_data/micrograph_{n:03d}.mrc" for n in (1, 2)]
    optics, particles = (starfile.read("particles.star")[name] for name in ("optics", "particles"))
    assert optics[["rlnVoltage", "rlnImagePixelSize", "rlnImageSize"]].to_numpy().tolist() == [[120, 8.8, 64]]
    assert set(particles["rlnDefocusU"]) == {23039, 22067}
    listed = read_plainly(Path("all_particles.star"), "particles", (1024, 1024))
    for number, (name, file) in enumerate(zip(*(index[column] for column in index), strict=True), start=1):
        assert near(starfile.read(file)[xy], number)
        mine = particles[particles["rlnMicrographName"] == name]
        assert len(mine) > 20 and near(mine[xy].to_numpy() - mine[["rlnOriginXAngst", "rlnOriginYAngst"]] / 4.4, number)
        for places in (
            listed[name],
            *read_plainly(Path("relion_coordinates", file[6:]), "star", (1024, 1024)).values(),
        ):
            assert near(np.column_stack([places.x, places.y]), number)


def check_cryosparc():
    """What cryoSPARC reads, as NumPy does: y counts from the first row, uids are those of the exposures."""
    rows, flipped = np.load("picks.cs"), np.load("flipped.cs")
    at = 1024 * np.column_stack([rows["location/center_x_frac"], rows["location/center_y_frac"]])
    for number in (1, 2):
        assert near(at[rows["location/micrograph_uid"] == 100 + number], number)
    assert np.array_equal(flipped["uid"], rows["uid"])
    assert np.allclose(1024 * flipped["location/center_y_frac"], 1023 - at[:, 1], atol=1e-3)


CHECKS = {"relion.md": check_relion, "cryosparc.md": check_cryosparc}
"""What must hold of the files that a page has made."""
RUN = [page for page in PAGES if page.name not in NOT_RUN and any(not b.file for b in blocks_of(page))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_a_page_works_as_it_is_written(page, project, kept):
    printed, known = None, {}
    blocks = blocks_of(page)
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.file:
            Path(block.file).write_text(block.text)
        elif block.language == "output":
            assert printed is not None, f"nothing printed this: {block.text}"
            right = any(CHECKER.check_output(block.text, text, LOOSELY) for text in printed)
            assert right, f"{page.name} shows\n{block.text}\nbut this is printed:\n{printed[1]}"
        elif block.language == "python":
            printed = run_python(block, known)
        elif block.language == "":
            commands = [command for command in commands_of(block) if reason_not_to_run(page, command) is None]
            for command in commands:
                refused = command is commands[-1] and after and after.text.startswith("Error: ")
                printed = run(command, (1, 2)) if refused else run_once(command, kept)
        else:
            assert block.language in SHOWN, block.text
    CHECKS.get(page.name, lambda: None)()


def test_what_is_not_run_is_on_the_pages():
    """A reason for something that no page has any more must go."""
    commands = [command for page in PAGES for block in blocks_of(page) if not block.language
                for command in commands_of(block)]  # fmt: skip
    unused = [start for start in NOT_RUN if not (ROOT / "docs" / start).is_file()
              and not any(command.startswith(start) for command in commands)]  # fmt: skip
    assert unused == []
