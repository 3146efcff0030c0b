"""Damage the input files of every reader, and check that each gives values that can be right, or one sentence.

    python tests/fuzz.py --cases 10000 --seed 1
    python tests/fuzz.py --cases 10000 --seed 1 --only 4711     one case again; its damaged file is kept

Each case has 10 seconds and 1 GiB; what it may do is in `fuzzing.checks`. `--command-line 500` runs that many of the
cases through the command `gempick`, as processes of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

TESTS = Path(__file__).absolute().parent
for _place in (str(TESTS), str(TESTS.parent / "src")):
    if _place not in sys.path:
        sys.path.insert(0, _place)

from fuzzing import checks, commands, mutations, world  # noqa: E402
from fuzzing.subjects import Subject, subjects  # noqa: E402
from napari_gempick.model.errors import GempickError  # noqa: E402

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SECONDS = 10.0
MEMORY = 2**30
_SPECIAL = 0.04
"""Share of the cases with something else than a regular file."""


def read_case(seed: int, number: int, top: Path, folder: Path, listed: list[Subject]) -> tuple[str, str]:
    """Damage a file and read it; return what was read, and what went wrong ("" where nothing did)."""
    rng = random.Random(f"{seed} {number}")
    subject = listed[number % len(listed)]
    path = subject.lay_out(top, folder)
    if rng.random() < _SPECIAL:
        what = f"{subject.target} ({mutations.put_in_place(rng, path)})"
    else:
        others = [(top / one.target).read_bytes() for one in rng.sample(listed, 2)]
        path.write_bytes(mutations.damaged(rng, subject.kind, path.read_bytes(), others))
        what = subject.target
    try:
        subject.read(path)
    except GempickError as error:
        try:
            checks.check_sentence(error, (path.name, *subject.named))
        except checks.Garbage as garbage:
            return what, f"{type(garbage).__name__}: {garbage}"
    except checks.Garbage as garbage:
        return what, f"Garbage: {garbage}\n{_last_lines()}"
    except BaseException as error:
        return what, f"{type(error).__name__}: {str(error)[:300]}\n{_last_lines()}"
    return what, ""


def _last_lines() -> str:
    return "".join(traceback.format_exc(limit=-4).splitlines(keepends=True)[-12:])[-1500:]


def _work(mine: Connection, seed: int, numbers: list[int], top: Path, listed: list[Subject], keep: Path | None) -> None:
    """Run cases one after the other in a process with little memory, and tell of each when it begins and ends."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    with open("/proc/self/statm", encoding="ascii") as stream:
        size = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for number in numbers:
        mine.send((number, None))
        folder = home / "case" if keep is None else keep
        folder.mkdir()
        os.chdir(folder)
        try:
            result = read_case(seed, number, top, folder, listed)
        except Exception as error:
            result = "the damage itself", f"{type(error).__name__}: {str(error)[:200]}\n{_last_lines()}"
        os.chdir(home)
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
        mine.send((number, result))
    shutil.rmtree(home, ignore_errors=True)
    mine.send(None)


class Pool:
    """Processes that run cases; one that takes too long is killed, and another one takes over after that case."""

    def __init__(self, seed: int, top: Path, listed: list[Subject], keep: Path | None) -> None:
        self._common = (seed, top, listed, keep)
        self.failures: list[tuple[int, str, str]] = []
        self.done = 0

    def run(self, numbers: list[int], jobs: int) -> None:
        """Run cases."""
        shares = [numbers[one::jobs] for one in range(jobs)]
        running = [self._start(share) for share in shares if share]
        while running:
            for one in list(running):
                self._watch(one, running)
            multiprocessing.connection.wait([one["mine"] for one in running], 0.5)

    def _start(self, numbers: list[int]) -> dict[str, Any]:
        seed, top, listed, keep = self._common
        mine, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_work, args=(theirs, seed, numbers, top, listed, keep))
        process.start()
        theirs.close()
        return {"process": process, "mine": mine, "numbers": numbers, "case": None, "since": time.monotonic()}

    def _watch(self, one: dict[str, Any], running: list[dict[str, Any]]) -> None:
        ended = False
        with contextlib.suppress(EOFError, ConnectionResetError):
            while one["mine"].poll():
                message = one["mine"].recv()
                if message is None:
                    one["case"], ended = None, True
                    break
                one["case"], result = message
                one["since"] = time.monotonic()
                if result is not None:
                    self._count(one["case"], *result)
                    one["case"] = None
        late = one["case"] is not None and time.monotonic() - one["since"] > SECONDS
        if not (ended or late or not one["process"].is_alive()):
            return
        if late:
            one["process"].kill()
        one["process"].join()
        running.remove(one)
        if one["case"] is not None:
            what = "HANG" if late else f"the process died ({one['process'].exitcode})"
            subject = self._common[2][one["case"] % len(self._common[2])]
            self._count(one["case"], subject.target, what)
            left = one["numbers"][one["numbers"].index(one["case"]) + 1 :]
            if left:
                running.append(self._start(left))

    def _count(self, number: int, what: str, wrong: str) -> None:
        self.done += 1
        if wrong:
            self.failures.append((number, what, wrong))
            seed = self._common[0]
            print(
                f"FAILED case {number}, {what}: {wrong}\n  again: python tests/fuzz.py --seed {seed} --only {number}\n"
            )
            sys.stdout.flush()


def _build(top: Path) -> None:
    """Make the data set in a process of its own, so that nothing of it stays in this one."""
    process = multiprocessing.get_context("spawn").Process(target=world.build, args=(top,))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("The files to damage could not be made.")


def main() -> int:
    """Run the command; 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="how many, those by command line among them")
    parser.add_argument("--command-line", type=int, default=None, help="how many by command line; default 5 %%")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to run in parts")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", type=int, help="this case only; its files are kept (a negative number: command line)")
    options = parser.parse_args()
    by_command = options.cases // 20 if options.command_line is None else options.command_line
    home = Path(tempfile.mkdtemp(prefix="fuzz-world-"))
    try:
        top = home / "world"
        top.mkdir()
        _build(top)
        listed = subjects(top)
        numbers = list(range(options.first, options.first + options.cases - by_command))
        orders = list(range(-1 - options.first, -1 - options.first - by_command, -1))
        keep = None
        if options.only is not None:
            keep = Path(tempfile.gettempdir()) / f"fuzz-{options.seed}-{options.only}"
            shutil.rmtree(keep, ignore_errors=True)
            numbers, orders = ([options.only], []) if options.only >= 0 else ([], [options.only])
        pool = Pool(options.seed, top, listed, keep)
        pool.run(numbers, options.jobs)
        failures = [*pool.failures, *commands.run(options.seed, orders, top, options.jobs, keep)]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for what, count in Counter(what.split(" (")[0] for _, what, _ in failures).most_common():
        print(f"{count:6d} {what}")
    if keep is not None and keep.exists():
        print(f"The files are in {keep}.")
    print(f"{pool.done + len(orders)} cases, seed {options.seed}: {len(failures)} failures.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
