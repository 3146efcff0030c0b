r"""Submit scripts from site templates: built in, the user's own, and cryoSPARC's cluster folders.

A site template is a Jinja2 file NAME.sh.j2. It begins with a comment that says how to submit:

    {#
    submit = sbatch --parsable {{ script }}     words of a command, run in the job folder without a shell
    stdin = script                              the script comes on the standard input (LSF)
    job_id = ^(\d+)                             regular expression for what submit prints
    cancel = scancel {{ job_id }}
    launcher = srun                             what `auto` starts the ranks with
    #}

Every value that a template prints is quoted for the shell, but for `command`, `environment` and `directives`, which are
shell text; a variable that is not known is an error.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from platformdirs import user_config_path

from napari_gempick.io.atomic import write_text
from napari_gempick.job.cluster.folder import SCRIPT
from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from napari_gempick.job.cluster.folder import Job

_HEAD = re.compile(r"\s*\{#(?P<head>.*?)#\}\n?", re.DOTALL)
_KEYS = {"submit", "stdin", "job_id", "cancel", "launcher"}
LOCAL = "local"
SUFFIX = ".sh.j2"


class ShellText(str):
    """Text that is shell already and is not quoted again."""


@dataclass(frozen=True)
class Site:
    """How jobs are written and submitted at one place.

    Attributes
    ----------
    name : str
    text : str
        The template of the script.
    submit, cancel : str
        Commands; `local`: a process of this machine.
    job_id : str
        Regular expression whose first group, in what submit prints, is the job's number.
    stdin : bool
        The script is given on the standard input.
    launcher : str
        srun or mpiexec.
    send : str
        Words before a command, such as `ssh login {{ command }}`.
    trims : bool
        Lines that hold a statement of Jinja2 alone leave no empty line.
    """

    name: str
    text: str
    submit: str
    cancel: str
    job_id: str = r"(\d+)"
    stdin: bool = False
    launcher: str = "mpiexec"
    send: str = "{{ command }}"
    trims: bool = True

    def words(self, command: str, **values: str) -> list[str]:
        """Return the words of a command; each is filled in by itself, so that no shell reads it."""
        filled = [_fill(word, self.name, values) for word in _split(command)]
        if self.send.strip() == "{{ command }}":
            return filled
        return [_fill(word, self.name, {**values, "command": shlex.join(filled)}) for word in _split(self.send)]


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

    Raises
    ------
    SettingsError
        There is no such site, or its template does not say how to submit.
    """
    for folder in (Path(name), config_folder() / name):
        if (folder / "cluster_info.json").is_file():
            return _cryosparc(folder)
    own = config_folder() / f"{name}{SUFFIX}"
    built_in = resources.files(__package__).joinpath("sites", f"{name}{SUFFIX}")
    if re.fullmatch(r"[\w.-]+", name) and own.is_file():
        return _site(name, own.read_text(encoding="utf-8"))
    if re.fullmatch(r"[\w.-]+", name) and built_in.is_file():
        return _site(name, built_in.read_text(encoding="utf-8"))
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
            f"and knows {', '.join(sorted(_KEYS))} alone; see docs/cluster.md."
        )
    return Site(
        name,
        text[match.end() :],
        values["submit"],
        values.get("cancel", ""),
        values.get("job_id", r"(\d+)"),
        values.get("stdin") == "script",
        values.get("launcher", "mpiexec"),
    )


def _cryosparc(folder: Path) -> Site:
    info_file = folder / "cluster_info.json"
    try:
        info = json.loads(info_file.read_text(encoding="utf-8"))
        text = (folder / "cluster_script.sh").read_text(encoding="utf-8")
        return Site(
            str(info["name"]),
            text,
            str(info["qsub_cmd_tpl"]).replace("script_path_abs", "script"),
            str(info["qdel_cmd_tpl"]).replace("cluster_job_id", "job_id"),
            send=str(info.get("send_cmd_tpl") or "{{ command }}"),
            trims=False,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{info_file} and cluster_script.sh beside it cannot be used ({error!r}).") from error


def write_script(job: Job, site: Site | None = None) -> Job:
    """Write submit.sh, and note in job.json for which place; return the job.

    Raises
    ------
    SettingsError
        The template has an error, or asks for a variable that is not known.
    """
    site = site or find_site(job.cluster.site)
    text = render(job, site)
    (job.folder / "log").mkdir(exist_ok=True)
    write_text(job.folder / SCRIPT, text)
    (job.folder / SCRIPT).chmod(0o755)
    return job.rewritten(script={"folder": str(job.folder), "text": text})


def render(job: Job, site: Site) -> str:
    """Return the script of a job at a site; errors as write_script."""
    cluster = job.cluster
    words = run_words(job, site)
    folder = str(job.folder)
    values: dict[str, Any] = {
        **cluster.model_dump(include={"job_name", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node"}),
        **cluster.model_dump(include={"walltime", "warning", "partition", "account"}),
        "ranks": cluster.ranks,
        "memory": job.content["memory"],
        "walltime_seconds": cluster.seconds,
        "walltime_minutes": max(1, cluster.seconds // 60),
        "environment": [ShellText(line) for line in cluster.environment],
        "directives": [ShellText(line) for line in cluster.directive],
        "command": ShellText(shlex.join(words)),
        "job_folder": folder,
        # cryoSPARC's names
        "run_cmd": ShellText(
            "\n".join([*cluster.environment, f"cd {shlex.quote(folder)} || exit 2", shlex.join(words)])
        ),
        "num_cpu": cluster.ranks * cluster.cpus_per_task,
        "num_gpu": cluster.nodes * cluster.gpus_per_node,
        "ram_gb": float((job.content["memory"] or 0) * cluster.nodes),
        "job_dir_abs": folder,
        "project_dir_abs": str(job.folder.parent),
        "job_log_path_abs": f"{folder}/log/job.txt",
        "worker_bin_path": "",
        "run_args": "",
        "project_uid": "gempick",
        "job_uid": cluster.job_name,
        "job_creator": "gempick",
        "cryosparc_username": "gempick",
        "job_type": "gempick",
        **dict(text.split("=", 1) for text in cluster.variable),
    }
    return _fill(site.text, site.name, values, quoted=True, trims=site.trims)


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
    return [*start, cluster.python, "-m", "mpi4py", "-m", "napari_gempick.job", ".", "--ranks", ranks]


def _split(command: str) -> list[str]:
    """Split a command into words; what stands in {{ }} is one of them or a part of one."""
    return shlex.split(re.sub(r"\{\{\s*(\w+)\s*\}\}", r"{{\1}}", command))


def _fill(text: str, name: str, values: dict[str, Any], *, quoted: bool = False, trims: bool = False) -> str:
    def quote(value: Any) -> Any:
        if isinstance(value, ShellText | jinja2.Undefined) or not quoted:
            return value
        return shlex.quote(str(value))

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=trims,
        lstrip_blocks=trims,
        keep_trailing_newline=True,
        finalize=quote,
        autoescape=False,  # shell, not HTML: `finalize` quotes
    )
    try:
        return environment.from_string(text).render(values)
    except jinja2.UndefinedError as error:
        raise SettingsError(
            f"The template of site {name!r} asks for something that is not known ({error.message}); give it with "
            "--variable NAME=VALUE."
        ) from error
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise SettingsError(f"The template of site {name!r} cannot be filled in: {error}.") from error
