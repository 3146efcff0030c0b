"""What the sub-commands share: errors as sentences, JSON output, tables of picks, progress.

Ctrl-C or SIGTERM ends a command after the current piece of work, or cancels that; a second one ends it at once.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.model.errors import Cancelled, GempickError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import FrameType


EXIT_SOME_FAILED, EXIT_FAILED = 1, 2


def say(message: str) -> None:
    """Print a message for the person at the terminal, on stderr."""
    click.echo(message, err=True)


def reported(result: Any, as_json: bool, sentences: Iterable[str] = ()) -> bool:
    """Say sentences, then print the result where JSON was asked for; return whether it was."""
    for sentence in sentences:
        say(sentence)
    if as_json:
        click.echo(json.dumps(result, indent=2, ensure_ascii=False))
    return as_json


def command_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--verbose` and `--debug`, and turn an error of ours into one sentence on stderr and exit status 2.

    A function that returns a number ends with it as exit status.
    """

    @click.option("-v", "--verbose", is_flag=True, help="Print what is done, with times, on stderr.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapped(*args: Any, verbose: bool, debug: bool, **kwargs: Any) -> None:
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damaged files get our own sentence
        try:
            with _printed(verbose), _tracebacks(debug):
                status = function(*args, **kwargs)
        except Cancelled as error:
            say(error.sentence)
            sys.exit(stopped_status())
        except GempickError as error:
            if debug:
                raise
            say(f"Error: {error.sentence}")
            sys.exit(EXIT_FAILED)
        sys.exit(status or 0)

    return wrapped


@contextlib.contextmanager
def _printed(verbose: bool) -> Iterator[None]:
    """Print what the program logs during a block, where that is asked for."""
    if not verbose:
        yield
        return
    from napari_gempick.results.log_file import listening

    handler = logging.StreamHandler()
    handler.addFilter(lambda record: not hasattr(record, "told"))  # sentences for the user are printed anyway
    with listening(handler):
        yield


@contextlib.contextmanager
def _tracebacks(debug: bool) -> Iterator[None]:
    """Print the tracebacks of micrographs that fail during a block, where that is asked for."""
    if not debug:
        yield
        return
    log, handler = logging.getLogger("napari_gempick"), logging.StreamHandler()
    handler.addFilter(lambda record: record.exc_info is not None)
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def exit_status(run: dict[str, Any]) -> int:
    """Return 0 when every micrograph of a run is done, 1 when some failed or a file proved wrong, 2 when all failed."""
    failed = sum("error" in row for row in run["micrographs"])
    if failed and failed == len(run["micrographs"]):
        return EXIT_FAILED
    return EXIT_SOME_FAILED if failed or any("wrong" in row for row in run["micrographs"]) else 0


def print_picks(run: dict[str, Any], folder: Path) -> None:
    """Print the picks of a run, per micrograph and view."""
    from rich.console import Console
    from rich.table import Table

    views = [view["name"] for view in run["views"]]
    several = views if len(views) > 1 else []
    table = Table(box=None, pad_edge=False)
    table.add_column("micrograph")
    estimated = any(row.get("estimated_fdr") for row in run["micrographs"])
    for name in ["picks", *several, "best score", *(["false, est."] if estimated else []), "search s"]:
        table.add_column(name, justify="right")
    good = [row for row in run["micrographs"] if "error" not in row]
    for row in run["micrographs"]:
        if "error" in row:
            table.add_row(row["name"], "failed")
            continue
        best = "-" if row["best_score"] is None else f"{row['best_score']:.3f}"
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else "-"
        per_view = (str(row["picks_per_view"][view]) for view in several)
        false = [_false_picks(row)] if estimated else []
        table.add_row(row["name"], str(row["picks"]), *per_view, best, *false, seconds)
    if len(good) > 1:
        sums = (str(sum(row["picks_per_view"][view] for row in good)) for view in several)
        table.add_row("all", str(sum(row["picks"] for row in good)), *sums)
    Console(width=110).print(table)
    for sentence in _proof_sentences(good):
        click.echo(sentence)
    click.echo(
        f"Results are in {folder}." if good else f"Nothing was picked; {folder} holds run.json with the reasons."
    )


def _false_picks(row: dict[str, Any]) -> str:
    """Return the estimated share of false picks over all views, in per cent."""
    rates, picks = row.get("estimated_fdr"), row["picks_per_view"]
    if not rates or not row["picks"]:
        return "-"
    return f"{100 * sum(rates[view] * picks[view] for view in picks) / row['picks']:.1f} %"


def _proof_sentences(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Say how the coordinates of a run were checked: for each micrograph, by its least certain format."""
    proofs = [sorted(row["proof"].values(), key=lambda text: text.startswith("verified"))[0]
              for row in rows if row.get("proof")]  # fmt: skip
    verified = [text for text in proofs if text.startswith("verified")]
    if verified:
        how = verified[0].partition(": ")[2]
        first = "in the first, " if len(verified) > 1 else ""
        sample = "" if len(proofs) == len(rows) else f" that were checked, of {len(rows)}"
        yield f"Coordinate convention verified on {len(verified)} of {len(proofs)} micrographs{sample}: {first}{how}."
    elif proofs:
        yield f"{proof_sentence(proofs[0])}."


def proof_sentence(proof: str) -> str:
    """Return a proof as a sentence."""
    return f"{'Coordinate convention' if proof.startswith('verified') else 'Coordinates'} {proof}"


class ProgressPrinter:
    """Progress with time left, for a `with` block: a bar on a terminal, else a line every 10 s; all on stderr."""

    EVERY_SECONDS = 10.0

    def __init__(self, label: str) -> None:
        self._label = label
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f} %"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(label, total=1.0)
            self._bar.start()

    def update(self, share: float, what: str = "") -> None:
        """Show that `share` (0..1) of the work is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, description=what or self._label)
            return
        now = time.monotonic()
        if now - self._last >= self.EVERY_SECONDS and share > 0:
            self._last = now
            left = (now - self._start) * (1 - share) / share
            say(f"{what or self._label}: {100 * share:.0f} %, {left:.0f} s left")

    def __enter__(self) -> ProgressPrinter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; the second one ends the process at once."""
    cancel = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if _received:
            os.write(2, b"Stopped at once.\n")
            os._exit(128 + number)
        _received.append(number)
        os.write(2, b"Stopping ... (once more to end at once)\n")
        cancel.set()

    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield cancel
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stopped_status() -> int:
    """Return the exit status of a command that was stopped: 128 and the number of the signal, SIGINT by default."""
    number = _received[0] if _received else signal.SIGINT
    _received.clear()
    return 128 + number
