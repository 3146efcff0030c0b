"""One place where jobs run: the template of its script, and the commands that submit, ask and cancel.

Commands never pass through a shell here: each word of a template is filled in by itself. Where a template hands the
command to a shell of its own (`ssh host {{ command }}`, `bash -lc "{{ command }}"`), it goes there quoted.

cryoSPARC's cluster folders as sites: cluster_info.json, cluster_script.sh, and the launcher that they start.

A lane's script names the command in comments, prints it, wraps it in srun, redirects it. So the command is one word: a
script in the job folder, which starts the ranks once, whoever calls it and however often at the same time.

The names are those of CryoSPARC's guide ("Using CryoSPARC with Cluster Management Software"), seen on 27 November 2026.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from platformdirs import user_config_path
from pydantic import BaseModel, Field

from napari_gempick.cluster.folder import LAUNCHER, SCRIPT
from napari_gempick.cluster.shell import split_words
from napari_gempick.io.atomic import write_text
from napari_gempick.io.reading import checked, read_object
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError, OutputError, SettingsError

if TYPE_CHECKING:
    from napari_gempick.cluster.folder import Job

_PLACE = re.compile(r"\{\{.*?\}\}")
_MARK = re.compile("\ue000(\\d+)\ue001")
_COMMAND = re.compile(r"\{\{\s*command\s*\}\}")
_REMOTE = {"ssh", "gsissh", "rsh", "autossh", "pdsh", "clush"}
"""Programs that join their arguments and give them to a shell elsewhere."""


class ShellText(str):
    """Text that is shell already and is not quoted again."""


@dataclass(frozen=True)
class Command:
    """Words to run without a shell, and the file that comes on the standard input."""

    words: list[str]
    stdin: str | None = None


@dataclass(frozen=True)
class Site:
    """How jobs are written and submitted at one place.

    Attributes
    ----------
    text : str
        The template of the script.
    submit, cancel, status : str
        Commands; `local`: a process of this machine. `status` prints a line that names the job while the scheduler
        knows it; empty if no command can tell.
    job_id : tuple of str
        Regular expressions; the first group of the first one that is found in what submit prints is the job's number.
    stdin : bool
        The script is given on the standard input.
    launcher : str
        srun or mpiexec.
    send : str
        Words before a command, such as `ssh login {{ command }}`.
    trims : bool
        Lines that hold a statement of Jinja2 alone leave no empty line.
    launches : bool
        The script starts a launcher in the job folder, as cryoSPARC's do, not the command itself.
    lane : Path, optional
        The folder of cryoSPARC's cluster files that it was read from, unless it is the user's own.
    """

    name: str
    text: str
    submit: str
    cancel: str
    status: str = ""
    job_id: tuple[str, ...] = (r"(\d+)",)
    stdin: bool = False
    launcher: str = "mpiexec"
    send: str = "{{ command }}"
    trims: bool = True
    launches: bool = False
    lane: Path | None = None

    def command(self, template: str, values: dict[str, Any]) -> Command:
        """Return a command with its values filled in, sent the way this site wants it.

        Raises
        ------
        SettingsError
            The template needs a shell, or uses a name that is not defined.
        """
        words, stdin = [], None
        split = self._split(template)
        for i, (written, plain) in enumerate(split):
            if written == "<" and stdin is None and i == len(split) - 2 and split[-1][1]:
                stdin = self._filled(split[-1][1], values)
                break
            if not plain and written not in ("''", '""'):
                raise SettingsError(
                    f"The command `{template}` of site {self.name!r} needs a shell ({written}), and commands are run "
                    "without one; write a script that does it, and name that."
                )
            words.append(self._filled(plain, values))
        return Command(self._sent(words, values), stdin)

    def _sent(self, words: list[str], values: dict[str, Any]) -> list[str]:
        """Return words with those of `send` around them."""
        out: list[str] = []
        for written, plain in self._split(self.send):
            if not plain:
                raise SettingsError(f"send_cmd_tpl of site {self.name!r} needs a shell ({written}); leave that out.")
            if not _COMMAND.search(plain):
                out.append(self._filled(plain, values))
            elif _COMMAND.fullmatch(plain):
                remote = any(word.rsplit("/", 1)[-1] in _REMOTE for word in out)
                out += [shlex.join(words)] if remote or written != plain else words
            elif any(shlex.quote(word) != word for word in words):
                raise SettingsError(
                    f"send_cmd_tpl of site {self.name!r} puts `{shlex.join(words)}` into the text of another command, "
                    "which is not safe with these names; choose a job folder whose path has no spaces, quotation "
                    "marks or other special characters."
                )
            else:
                out.append(_COMMAND.sub(lambda match: " ".join(words), plain))
        return out

    def _split(self, template: str) -> list[tuple[str, str]]:
        """Split a command into words; what stands in {{ }} is one of them or a part of one."""
        places = _PLACE.findall(template)
        numbers = iter(range(len(places)))
        marked = _PLACE.sub(lambda match: f"\ue000{next(numbers)}\ue001", template)
        return [
            (_MARK.sub(lambda m: places[int(m[1])], written), _MARK.sub(lambda m: places[int(m[1])], plain))
            for written, plain in split_words(marked)
        ]

    def _filled(self, word: str, values: dict[str, Any]) -> str:
        return fill(word, self.name, values) if "{{" in word else word


def fill(text: str, name: str, values: dict[str, Any], *, quoted: bool = False, trims: bool = False) -> str:
    """Fill in a Jinja2 template of site `name`; `quoted`: each value is quoted for the shell.

    Raises
    ------
    SettingsError
        The template has an error, or uses a name that is not defined.
    """

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
            f"The template of site {name!r} uses a name that is not defined ({error.message}); give it with "
            "--variable NAME=VALUE."
        ) from error
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise SettingsError(f"The template of site {name!r} cannot be filled in: {error}.") from error


INFO, TEMPLATE = "cluster_info.json", "cluster_script.sh"
_JOB_ID = (
    r"(?:[Ss]ubmitted batch job|Your job(?:-array)?|Job) <?(\d+)",  # Slurm, SGE, LSF
    r"^(\d+(?:\[\])?\.[\w.-]+)\s*$",  # PBS
    r"^(\d+)(?:;.*)?$",  # sbatch --parsable, qsub -terse
    r"(\d+)",
)
_KEPT = 200


class _Info(BaseModel):
    """What must be right in cluster_info.json."""

    name: str = Field(min_length=1)
    qsub_cmd_tpl: str = Field(min_length=1)
    qdel_cmd_tpl: str = Field(min_length=1)
    qstat_cmd_tpl: str | None = None
    send_cmd_tpl: str | None = None


def is_lane(folder: Path) -> bool:
    """Return whether a folder holds cryoSPARC's cluster files."""
    return (folder / INFO).is_file()


def read_lane(folder: Path) -> Site:
    """Return the site of a folder with cryoSPARC's cluster files.

    Raises
    ------
    SettingsError
        A file is missing or damaged.
    """
    folder = Path(os.path.abspath(folder))
    try:
        info = checked(_Info, read_object(folder / INFO), folder / INFO, "correct it")
        text = read_text(folder / TEMPLATE, "cluster script")
        return Site(
            info.name,
            text,
            info.qsub_cmd_tpl,
            info.qdel_cmd_tpl,
            info.qstat_cmd_tpl or "",
            job_id=_JOB_ID,
            send=info.send_cmd_tpl or "{{ command }}",
            trims=False,
            launches=True,
            lane=folder,
        )
    except InputError as error:
        raise SettingsError(error.sentence, folder) from error


def lane_values(job: Job, launcher: str) -> dict[str, Any]:
    """Return the values of cryoSPARC's names; `launcher` starts the job."""
    cluster, folder = job.cluster, str(job.folder)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this number
        user = "gempick"
    return {
        "run_cmd": ShellText(launcher),
        "command": ShellText(launcher),
        "worker_bin_path": ShellText(launcher),
        "run_args": ShellText(f"--project gempick --job {cluster.job_name}"),
        "script_path_abs": f"{folder}/{SCRIPT}",
        "num_cpu": cluster.ranks * cluster.cpus_per_task,
        "num_gpu": cluster.nodes * cluster.gpus_per_node,
        "ram_gb": float((job.content["memory"] or 0) * cluster.nodes),
        "job_dir_abs": folder,
        "project_dir_abs": str(job.folder.parent),
        "job_log_path_abs": f"{folder}/log/job.txt",
        "project_uid": "gempick",
        "job_uid": cluster.job_name,
        "job_creator": user,
        "cryosparc_username": user,
        "job_type": "gempick",
        "cluster_job_id": ShellText('"${SLURM_JOB_ID:-${PBS_JOBID:-${LSB_JOBID:-${JOB_ID:-}}}}"'),
    }


_LAUNCHER = r"""#!/bin/bash
# Starts the ranks of this job, once; written by gempick job, called by submit.sh.
case ${1-run} in run) ;; *) exit 0 ;; esac # the other commands of cryoSPARC's worker
# One of several tasks of srun, mpirun or pbsdsh, or of a job array: the first one starts the job for all.
for number in "${SLURM_PROCID-}" "${PMI_RANK-}" "${PMIX_RANK-}" "${OMPI_COMM_WORLD_RANK-}" "${PALS_RANKID-}" \
    "${PBS_VNODENUM-}"; do
    if [ "${number:-0}" != 0 ]; then exit 0; fi
done
if [ "${SLURM_ARRAY_TASK_ID-}" != "${SLURM_ARRAY_TASK_MIN-}" ]; then exit 0; fi
# What an outer srun or mpirun has set does not concern the ranks that start here.
for name in ${!PMI_*} ${!PMI2_*} PMIX_RANK PMIX_NAMESPACE ${!PMIX_SERVER_*} ${!OMPI_COMM_*} ${!HYDI_*} \
    MPI_LOCALRANKID MPI_LOCALNRANKS \
    ${!SLURM_CPU_BIND*} SLURM_DISTRIBUTION SLURM_NTASKS SLURM_NPROCS SLURM_NTASKS_PER_NODE SLURM_CPUS_PER_TASK \
    SLURM_TRES_PER_TASK SLURM_MPI_TYPE; do
    unset "$name"
done
export SLURM_OVERLAP=1 # steps inside the step of an outer srun
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 2
@lines@
export OMP_NUM_THREADS=@threads@ OPENBLAS_NUM_THREADS=1 PYTHONUNBUFFERED=1
exec @command@
"""


def launcher_text(job: Job, words: list[str]) -> str:
    """Return the launcher's text; `words` start the ranks."""
    lines = [*job.cluster.environment]
    if job.cluster.nodes == 1:
        lines.append("export HYDRA_BOOTSTRAP=${HYDRA_BOOTSTRAP:-fork} # MPICH: the ranks of one node need no srun")
    return (
        _LAUNCHER.replace("@threads@", str(job.cluster.cpus_per_task))
        .replace("@lines@\n", "".join(f"{line}\n" for line in lines))
        .replace("@command@", shlex.join(words))
    )


def launcher_path(job: Job) -> str:
    """Return the path of a job's launcher, quoted for the shell."""
    return shlex.quote(str(job.folder / LAUNCHER))


# whose commands may run


def _known_file() -> Path:
    return user_config_path("napari-gempick") / "lanes.json"


def _digest(site: Site) -> str:
    text = json.dumps([str(site.lane), site.text, site.submit, site.cancel, site.status, site.send])
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _known() -> list[str]:
    try:
        found = json.loads(_known_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def confirm(site: Site) -> None:
    """Note that this user named a lane on the command line or in the window; nothing happens for other sites."""
    if site.lane is None or is_confirmed(site):
        return
    try:
        write_text(_known_file(), json.dumps([*_known(), _digest(site)][-_KEPT:]) + "\n")
    except OutputError:
        return  # it is asked for again


def is_confirmed(site: Site) -> bool:
    """Return whether this user named the lane, as it is now; a site of the program or of the user always is."""
    return site.lane is None or _digest(site) in _known()


def unconfirmed(site: Site, job: Job, action: str) -> SettingsError:
    """Return the error that shows a lane's commands before any of them has run."""
    commands = "; ".join(f"`{text}`" for text in (site.submit, site.status, site.cancel) if text)
    around = "" if site.send.strip() == "{{ command }}" else f", each by `{site.send}`"
    return SettingsError(
        f"{job.folder / 'job.json'} names the folder {site.lane} as its site, whose commands would run on this "
        f"machine: {commands}{around}; if they are right, give the folder: gempick job {action} "
        f"{shlex.quote(str(job.folder))} --site {shlex.quote(str(site.lane))}.",
        job.folder,
    )
