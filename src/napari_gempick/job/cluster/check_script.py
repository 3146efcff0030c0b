"""Check a script for a scheduler: the job is started once, no directive is lost, the resources are enough."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from napari_gempick.job.cluster.shell import find_runs
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_gempick.model.cluster import ClusterSettings

_DIRECTIVE = re.compile(r"#(?:(SBATCH|PBS|BSUB)\b|\$\s+(?=-))\s*(.*)")
_SHORT = {"N": "nodes", "n": "ntasks", "c": "cpus-per-task", "G": "gpus"}


def check_script(site: str, marked: str, marker: str, text: str) -> None:
    """Check a script.

    Parameters
    ----------
    site : str
        Its name, for the sentence.
    marked : str
        The script with `marker` in place of what starts the job.
    text : str
        The script itself.

    Raises
    ------
    SettingsError
        What starts the job stands in no line that is executed or in several, or a directive stands where the scheduler
        does not read it.
    """
    runs, lines = find_runs(marked, marker), text.split("\n")

    def shown(number: int) -> str:
        return f"line {number}: `{lines[number - 1].strip()}`"

    script = f"The script of site {site!r}"
    for number, comment in runs.comments:
        if _DIRECTIVE.match(comment) and 0 < runs.first < number:
            raise SettingsError(
                f"{script} has a directive below its first command, where the scheduler does not read it "
                f"({shown(number)}; the first command is in {shown(runs.first)}); move it up."
            )
    if runs.ended and not runs.lines:
        raise SettingsError(f"{script} ends before it starts the job ({shown(runs.ended)}); see the template.")
    if not runs.lines:
        where = f"names it only where it is not executed ({shown(runs.named[0])})" if runs.named else "does not name it"
        raise SettingsError(f"{script} never starts the job: it {where}; put {{{{ run_cmd }}}} into a line of its own.")
    if len(runs.lines) > 1:
        several = "; ".join(shown(number) for number in runs.lines)
        raise SettingsError(f"{script} starts the job {len(runs.lines)} times ({several}); leave one of them.")
    if runs.in_loop:
        raise SettingsError(f"{script} starts the job in a loop ({shown(runs.in_loop[0])}); take it out of the loop.")


def shortfalls(site: str, text: str, cluster: ClusterSettings) -> tuple[str, ...]:
    """Return a sentence for each resource of which a lane's script asks for less than the job uses."""
    runs = find_runs(text, "\0")
    rows = [match for line, comment in runs.comments if (match := _DIRECTIVE.match(comment))
            and not 0 < runs.first < line]  # fmt: skip
    asked = {"SBATCH": _slurm, "PBS": _pbs, "BSUB": _lsf, None: _sge}
    kinds = {match[1] for match in rows}
    if not kinds:
        return ()
    kind = next(name for name in asked if name in kinds)
    nodes, cpus, gpus = asked[kind]([match[2] for match in rows if match[1] == kind])
    found = []
    for name, has, wants, options in (
        ("nodes", nodes, cluster.nodes, "--nodes"),
        ("CPUs", cpus, cluster.ranks * cluster.cpus_per_task, "--nodes, --tasks-per-node or --cpus-per-task"),
        ("GPUs", gpus, cluster.nodes * cluster.gpus_per_node, "--nodes or --gpus-per-node"),
    ):
        if has is not None and has < wants:
            found.append(
                f"The lane {site!r} asks for {has} {name if has != 1 else name[:-1]}, and the job uses {wants} "
                f"({cluster.ranks} ranks of {cluster.cpus_per_task} threads on {cluster.nodes} nodes): correct the "
                f"lane, or export the job with a smaller {options}."
            )
    return tuple(found)


def _words(lines: Iterable[str]) -> Iterator[list[str]]:
    for line in lines:
        try:
            yield shlex.split(line, comments=True)
        except ValueError:
            yield line.split()


def _number(text: str | None) -> int | None:
    match = re.match(r"\d+", text or "")
    return int(match[0]) if match else None


def _slurm(lines: list[str]) -> tuple[int | None, int | None, int | None]:
    """Return nodes, CPUs and GPUs that Slurm's options ask for; None where that cannot be told."""
    options: dict[str, str] = {}
    for words in _words(lines):
        for i, word in enumerate(words):
            following = words[i + 1] if i + 1 < len(words) else ""
            if word.startswith("--"):
                name, separator, value = word[2:].partition("=")
                options[name] = value if separator else following
            elif match := re.fullmatch(r"-([NncG])(.*)", word):
                options[_SHORT[match[1]]] = match[2].removeprefix("=") or following
    nodes = _number(options.get("nodes")) or 1
    per_node = _number(options.get("ntasks-per-node"))
    tasks = _number(options.get("ntasks")) or nodes * (per_node or 1)
    each = _number(options.get("cpus-per-task"))
    cpus = None if "exclusive" in options else tasks * (1 if each is None else each)
    gpus = 0
    for name, times in (("gpus", 1), ("gpus-per-node", nodes), ("gpus-per-task", tasks), ("gres", nodes)):
        for part in options.get(name, "").split(","):
            if name == "gres" and not part.startswith(("gpu", "gres:gpu")):
                continue
            if part:
                last = part.split("(")[0].split(":")[-1]
                gpus = max(gpus, times * (int(last) if last.isdigit() else 1))
    return nodes, cpus, gpus


def _pbs(lines: list[str]) -> tuple[int | None, int | None, int | None]:
    """As _slurm, for `-l select=N:ncpus=C:ngpus=G+...` and `-l nodes=N:ppn=C:gpus=G+...`."""
    text = ",".join(word for words in _words(lines) for word in words)
    match = re.search(r"(?:select|nodes)=([^,]+)", text)
    if not match:
        only = re.search(r"\bncpus=(\d+)", text)
        return 1, int(only[1]) if only else 1, None
    nodes = cpus = gpus = 0
    for chunk in match[1].split("+"):
        first, *rest = chunk.split(":")
        count = int(first) if first.isdigit() else 1
        values = dict(part.partition("=")[::2] for part in rest)
        nodes += count
        cpus += count * (_number(values.get("ncpus") or values.get("ppn")) or 1)
        gpus += count * (_number(values.get("ngpus") or values.get("gpus")) or 0)
    return nodes, cpus, gpus


def _sge(lines: list[str]) -> tuple[int | None, int | None, int | None]:
    """As _slurm, for `-pe NAME SLOTS`; a parallel environment decides about nodes."""
    for words in _words(lines):
        if "-pe" in words[:-2]:
            return None, _number(words[words.index("-pe") + 2]), None
    return 1, 1, None


def _lsf(lines: list[str]) -> tuple[int | None, int | None, int | None]:
    """As _slurm, for `-n SLOTS`."""
    for words in _words(lines):
        if "-n" in words[:-1]:
            return None, _number(words[words.index("-n") + 1]), None
    return 1, 1, None
