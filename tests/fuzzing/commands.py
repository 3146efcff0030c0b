"""Cases that go through the command line, each a process of its own in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import forked_python
from fuzzing import mutations
from fuzzing.checks import Garbage, want
from fuzzing.world import PICK
from napari_gempick.io.formats import FORMATS
from napari_gempick.io.images.micrograph import open_image
from napari_gempick.io.names import printable
from napari_gempick.io.star import read_tables
from napari_gempick.model.errors import GempickError

SECONDS = 60.0
MEMORY = 1300 * 2**10
"""KiB resident, of the whole process."""
_SPECIAL = 0.06
_RUN = ("results", "side.mrc", "mics")


@dataclass(frozen=True)
class Command:
    """A file that is damaged, and the words of a command that reads it.

    Attributes
    ----------
    target, kind : str
        As in `subjects.Subject`.
    words : str
        After `gempick`, as a shell has them.
    beside : tuple of str
        Files and folders that the command needs too.
    into : str
        The folder that it may write into.
    """

    target: str
    kind: str
    words: str
    beside: tuple[str, ...] = ()
    into: str = "out"


def commands(world: Path) -> list[Command]:
    """Return every command, with each of the files that it reads."""
    pick = f"pick mics {shlex.join(PICK)} --threads 1 -o out"
    mics = ("mics", "side.mrc")
    one = pick.replace("pick mics", "pick mics/mic0.mrc")
    rotate = "templates rotate --templates side=side.mrc --mask circle:130 --angle-step 60 -o out"
    found = [
        Command("mics/mic0.mrc", "mrc", pick, mics),
        Command("mics/mic0.mrc", "mrc", pick + " --exclude auto --save-maps --format box,csv", mics),
        Command("mic.tif", "tiff", pick.replace("pick mics", "pick mic.tif"), mics),
        Command("side.mrc", "mrc", pick, mics),
        Command("templates.star", "text", pick.replace("side=side.mrc", "templates.star"), (*mics, "stack.mrcs")),
        Command("mask.mrc", "mrc", pick.replace("circle:130", "mask.mrc"), mics),
        Command("ctf.star", "text", pick.replace("pick mics", "pick ctf.star"), mics),
        Command("ctf.star", "text", pick + " --ctf ctf.star", mics),
        Command("mic0_diag.txt", "text", one + " --ctf mic0_diag.txt", mics),
        Command("settings.json", "json", "pick mics --config settings.json --threads 1 -o out", mics),
        Command("settings.json", "json", "job export mics --config settings.json -o out/job", mics),
        Command("results/run.json", "json", pick.replace("-o out", "-o results --resume"), _RUN, "results"),
        Command("results/run.json", "json", "retune results --threshold 0.5", _RUN, "results"),
        Command("results/run.json", "json", "report results -o out", _RUN),
        Command("results/run.json", "json", "convert results out --to csv", _RUN),
        Command("results/candidates/mic0.star", "text", "retune results --threshold 0.5", _RUN, "results"),
        Command("results/candidates/mic0.star", "text", pick.replace("-o out", "-o results --resume"), _RUN, "results"),
        Command("results/autopick.star", "text", "convert results/autopick.star out --to star", _RUN),
        Command("exposures.cs", "cs", "convert without.cs out --to star --micrographs exposures.cs", ("without.cs",)),
        Command("without.cs", "cs", "convert without.cs out --to star --micrographs exposures.cs", ("exposures.cs",)),
        Command("names.csv", "text", "convert clicked.csv out --to star --name-table names.csv", ("clicked.csv",)),
        Command("clicked.csv", "text", "convert clicked.csv out/m.box --to box --box 24 --bin 2 --shape 120,132"),
        Command("particles_31.star", "text", "convert particles_31.star out --to star"),
        Command("mic0_truth.csv", "text", "evaluate results mic0_truth.csv --tolerance 5 -o out", _RUN),
        Command("results/mic0_autopick.star", "text", "evaluate results mic0_truth.csv --tolerance 5 -o out",
                (*_RUN, "mic0_truth.csv")),
        Command("particles_31.star", "text", "extract mics particles_31.star --box 16 -o out/p.mrcs", mics),
        Command("mics/mic0.mrc", "mrc", "extract mics particles_31.star --box 16 -o out/p.mrcs",
                (*mics, "particles_31.star")),
        Command("ctf.star", "text", "extract mics particles_31.star --ctf ctf.star --box 16 -o out/p.mrcs",
                (*mics, "particles_31.star")),
        Command("map.mrc", "mrc", "templates project map.mrc --angle-step 60 -o out/p.mrcs"),
        Command("clicked.csv", "text", "templates average mics/mic0.mrc clicked.csv --box 32 -o out/a.mrc", mics),
        Command("side.mrc", "mrc", rotate),
        *(Command(file, "json", f"job {what} job", ("job", "mics"), "job")
          for file in ("job/job.json", "job/progress/attempt-001-rank-00000.jsonl", "job/records/mic0.json",
                       "job/submitted.json") for what in ("status", "collect")),
    ]  # fmt: skip
    for name, made in FORMATS.items():
        kind = {"cs": "cs", "eman2": "json"}.get(name, "text")
        file = next(path for path in sorted((world / "coordinates" / name).rglob("*.*")) if path.is_file())
        words = f"convert {file.relative_to(world)} out --from {name} --to star --shape 120,132"
        found.append(Command(str(file.relative_to(world)), kind, words))
        if made.holds != "micrograph":
            to = f"convert {file.relative_to(world)} out --from {name} --to eman2"
            found.append(Command(str(file.relative_to(world)), kind, to))
    return found


def run(seed: int, numbers: list[int], world: Path, jobs: int, keep: Path | None) -> list[tuple[int, str, str]]:
    """Run cases with the numbers -1, -2, ...; return the failures."""
    if not numbers:
        return []
    listed = commands(world)
    before = _digests(world, "cache")
    failures = []

    def one(number: int) -> tuple[int, str, str]:
        folder = Path(tempfile.mkdtemp(prefix="fuzz-")) if keep is None else keep
        folder.mkdir(exist_ok=True)
        command = listed[-number % len(listed)]
        try:
            wrong = _case(seed, number, world, folder, command)
        finally:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)
        if wrong:
            again = f"python tests/fuzz.py --seed {seed} --only {number}"
            print(f"FAILED case {number}, gempick {command.words} ({command.target}): {wrong}\n  again: {again}\n")
            sys.stdout.flush()
        return number, f"gempick {command.words.split()[0]} with {command.target}", wrong

    with ThreadPoolExecutor(jobs) as pool:
        failures = [result for result in pool.map(one, numbers) if result[2]]
    if _digests(world, "cache") != before:
        failures.append((0, "gempick", "files of another folder were changed"))
        print("FAILED: files of another folder were changed.")
    return failures


def _case(seed: int, number: int, world: Path, folder: Path, command: Command) -> str:
    """Damage a file, run the command; return what went wrong, "" where nothing did."""
    rng = random.Random(f"{seed} {number}")
    work = folder / "work"
    for name in (*command.beside, command.target):
        place = work / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (world / name).is_dir():
            shutil.copytree(world / name, place, dirs_exist_ok=True)
        else:
            shutil.copyfile(world / name, place)
    path = work / command.target
    if rng.random() < _SPECIAL:
        mutations.put_in_place(rng, path)
    else:
        others = [(world / name).read_bytes() for name in ("side.mrc", "ctf.star")]
        path.write_bytes(mutations.damaged(rng, command.kind, path.read_bytes(), others))
    before = _digests(folder)
    status, out, error = _run(command, world, work)
    try:
        want(status in (0, 1, 2), f"exit status {status}: {error[-600:]}")
        want("Traceback" not in error + out, error[-1500:])
        want("Warning:" not in error, error[-600:])
        lines = error.splitlines()
        if status == 2:
            said = [line for line in lines if line.startswith("Error:")]
            want(len(said) <= 1, f"several errors: {error[-600:]}")
            said = said or lines[-1:]  # where every micrograph failed, each has its sentence
            want(said and said[0].endswith("."), f"no end of a sentence: {error[-600:]}")
            named = {printable(Path(command.target).name), Path(command.target).parts[0]}
            if command.kind == "json" and "--config" in command.words:
                # a file without templates is a sound one, and so is one that names a file that cannot be read
                named |= {"give at least one with --templates", *_names_in(path)}
            want(any(name in error for name in named), f"the file is not named: {error[-600:]}")
        after = _digests(folder)
        for name in before.keys() | after.keys():
            inside = Path(name).is_relative_to(Path("work", command.into)) or name.startswith("work/out")
            changed = before.get(name) != after.get(name)
            want(inside or not changed, f"{name} was written or removed outside {command.into}")
            if changed and name in after and folder / name != path:
                _whole(folder / name)
    except Garbage as garbage:
        return f"{garbage} (exit status {status})"
    return ""


def _run(command: Command, world: Path, work: Path) -> tuple[int, str, str]:
    settings = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {
        **os.environ,
        **settings,
        "GEMPICK_CACHE": str(world / "cache"),
        "XDG_CONFIG_HOME": str(work.parent / "config"),
        "MPLCONFIGDIR": str(world / "cache/matplotlib"),
    }
    words = forked_python.words("-m", "napari_gempick", *shlex.split(command.words))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error, tempfile.NamedTemporaryFile() as memory:
        environment["FORKED_MEMORY"] = memory.name
        process = subprocess.Popen(
            words, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=error, start_new_session=True
        )
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        texts = []
        for stream in (out, error):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
        most = int(memory.read() or 0)
    if most > MEMORY:
        return -1, texts[0], f"{most / 1024:.0f} MiB of memory. {texts[1]}"
    return process.returncode, texts[0], texts[1]


def _digests(folder: Path, without: str = "") -> dict[str, str]:
    """Return the checksum of every file below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if without and name.startswith(without):
            continue
        if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
            found[name] = "special"
        elif path.is_file():
            found[name] = hashlib.blake2b(path.read_bytes()).hexdigest()
    return found


def _names_in(config: Path) -> set[str]:
    """Return how errors begin about the files that settings name."""
    try:
        content = json.loads(config.read_bytes())
        texts = [text for key in ("templates", "mask") for text in content[key]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()
    return {f"Error: {printable(str(Path(str(text).partition('=')[2] or str(text))))} " for text in texts}


def _whole(path: Path) -> None:
    """Check that a file that was written is complete."""
    want(not path.name.startswith(".tmp-"), f"{path.name} was left")
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".star":
            read_tables(path)
        elif path.suffix in (".mrc", ".mrcs", ".gz"):
            open_image(path)
        elif path.suffix == ".png":
            want(path.read_bytes().endswith(b"IEND\xaeB`\x82"), f"{path.name} is half a file")
    except (GempickError, ValueError) as error:
        raise Garbage(f"{path.name} was written but cannot be read: {error}") from error
