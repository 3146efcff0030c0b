r"""Submit scripts from site templates: built in, the user's own, and cryoSPARC's cluster folders.

A site template is a Jinja2 file NAME.sh.j2. It begins with a comment that says how to submit:

    {#
    submit = sbatch --parsable {{ script }}     words of a command, run in the job folder without a shell
    stdin = script                              the script comes on the standard input (LSF)
    job_id = ^(\d+)                             regular expression for what submit prints
    cancel = scancel {{ job_id }}
    status = squeue -h -j {{ job_id }}          prints a line that names the job while the scheduler knows it
    launcher = srun                             what `auto` starts the ranks with
    #}

Every value that a template prints is quoted for the shell, but for `command`, `environment` and `directives`, which are
shell text; an undefined variable is an error.

Check a script for a scheduler: the job is started once, no directive is lost, the resources are enough.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path

from napari_gempick.cluster.folder import LAUNCHER, SCRIPT
from napari_gempick.cluster.shell import find_runs
from napari_gempick.cluster.site import (
    ShellText,
    Site,
    fill,
    is_lane,
    lane_values,
    launcher_path,
    launcher_text,
    read_lane,
)
from napari_gempick.io.atomic import write_text
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_gempick.cluster.folder import Job
    from napari_gempick.cluster.settings import ClusterSettings

_HEAD = re.compile(r"\s*\{#(?P<head>.*?)#\}\n?", re.DOTALL)
_KEYS = {"submit", "stdin", "job_id", "cancel", "status", "launcher"}
_MARKER = "/gempick-starts-here"
"""Stands for the command while a script is checked."""
LOCAL = "local"
SUFFIX = ".sh.j2"


def config_folder() -> Path:
    """Return the folder of the user's own site templates."""
    return user_config_path("napari-gempick") / "clusters"


def site_names() -> list[str]:
    """Return the names of the built-in site templates and the user's."""
    built_in = [item.name for item in resources.files(__package__).joinpath("sites").iterdir()]
    own = [path.name for path in config_folder().glob(f"*{SUFFIX}")] if config_folder().is_dir() else []
    return sorted({name.removesuffix(SUFFIX) for name in (*built_in, *own) if name.endswith(SUFFIX)})


def find_site(name: str) -> Site:
    """Return a site by name, the user's own first, or from a folder with cryoSPARC's cluster files.

    A name without a slash that is a site's is never taken for a folder that happens to lie here.

    Raises
    ------
    SettingsError
        There is no such site, or its template does not say how to submit.
    """
    if re.fullmatch(r"[\w.-]+", name):
        own = config_folder() / f"{name}{SUFFIX}"
        built_in = resources.files(__package__).joinpath("sites", f"{name}{SUFFIX}")
        for template in (own, built_in):
            if template.is_file():
                return _site(name, template.read_text(encoding="utf-8"))
        if is_lane(config_folder() / name):
            return replace(read_lane(config_folder() / name), lane=None)
    if is_lane(Path(name)):
        return read_lane(Path(name))
    raise SettingsError(
        f"There is no site {name!r}; choose from {', '.join(site_names())}, put {name}{SUFFIX} into {config_folder()}, "
        "or name a folder with cluster_info.json."
    )


def _site(name: str, text: str) -> Site:
    match = _HEAD.match(text)
    lines = [line.strip() for line in (match["head"] if match else "").splitlines() if line.strip()]
    values = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    if match is None or "submit" not in values or not set(values) <= _KEYS:
        raise SettingsError(
            f"The site template {name}{SUFFIX} must begin with a comment {{# ... #}} that has a line `submit = ...` "
            f"and contains only {', '.join(sorted(_KEYS))}; see docs/cluster.md."
        )
    return Site(
        name,
        text[match.end() :],
        values["submit"],
        values.get("cancel", ""),
        values.get("status", ""),
        (values.get("job_id", r"(\d+)"),),
        values.get("stdin") == "script",
        values.get("launcher", "mpiexec"),
    )


def write_script(job: Job, site: Site | None = None, place: Path | None = None) -> Job:
    """Write submit.sh, the launcher where the site starts one, and note in job.json for which place; return the job.

    The place is where the folder lies, or will lie when it gets its name. A launcher that was edited stays.

    Raises
    ------
    SettingsError
        The template has an error, uses a variable that is not defined, or does not start the job exactly once.
    """
    site = site or find_site(job.cluster.site)
    placed = replace(job, folder=place or job.folder)
    text = render(placed, site)
    (job.folder / "log").mkdir(exist_ok=True)
    files = {SCRIPT: text}
    if site.launches:
        path, known = job.folder / LAUNCHER, (job.content.get("script") or {}).get("launcher")
        edited = path.exists() and path.read_text(encoding="utf-8") != known
        files[LAUNCHER] = path.read_text(encoding="utf-8") if edited else launcher_text(placed, run_words(placed, site))
    for name, content in files.items():
        write_text(job.folder / name, content)
        (job.folder / name).chmod(0o755)
    return job.rewritten(script={"folder": str(placed.folder), "text": text, "launcher": files.get(LAUNCHER)})


def render(job: Job, site: Site) -> str:
    """Return the script of a job at a site; errors as write_script."""
    words = shlex.join(run_words(job, site))
    start = launcher_path(job) if site.launches else words
    text, marked = (
        fill(site.text, site.name, site_values(job, site, command), quoted=True, trims=site.trims)
        for command in (start, _MARKER)
    )
    check_script(site.name, marked, _MARKER, text)
    return text


def site_values(job: Job, site: Site, command: str) -> dict[str, Any]:
    """Return the values of the names that templates may use; `command` starts the job."""
    cluster = job.cluster
    return {
        **cluster.model_dump(include={"job_name", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node"}),
        **cluster.model_dump(include={"walltime", "warning", "partition", "account"}),
        "ranks": cluster.ranks,
        "memory": job.content["memory"],
        "walltime_seconds": cluster.seconds,
        "walltime_minutes": max(1, cluster.seconds // 60),
        "environment": [ShellText(line) for line in cluster.environment],
        "directives": [ShellText(line) for line in cluster.directive],
        "command": ShellText(command),
        "script": str(job.folder / SCRIPT),
        "job_folder": str(job.folder),
        **(lane_values(job, command) if site.launches else {}),
        **dict(text.split("=", 1) for text in cluster.variable),
    }


def run_words(job: Job, site: Site) -> list[str]:
    """Return the command that starts the ranks, in the job folder."""
    cluster = job.cluster
    launcher = site.launcher if cluster.launcher == "auto" else cluster.launcher
    ranks = str(cluster.ranks)
    if launcher == "srun":
        options = list(cluster.launcher_option) or ["--mpi=pmi2"]
        shape = [f"--nodes={cluster.nodes}", f"--ntasks={ranks}", f"--ntasks-per-node={cluster.tasks_per_node}"]
        start = ["srun", *options, *shape, f"--cpus-per-task={cluster.cpus_per_task}", "--kill-on-bad-exit=1"]
    else:
        start = [cluster.mpiexec, "-n", ranks, *cluster.launcher_option]
    return [*start, cluster.python, "-m", "mpi4py", "-m", "napari_gempick.cluster.mpi", ".", "--ranks", ranks]


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
        raise SettingsError(f"{script} starts the job {len(runs.lines)} times ({several}); keep only one of them.")
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
