"""cryoSPARC's cluster folders as sites: cluster_info.json, cluster_script.sh, and the launcher that they start.

A lane's script names the command in comments, prints it, wraps it in srun, redirects it. So the command is one word: a
script in the job folder, which starts the ranks once, whoever calls it and however often at the same time.

The names are those of CryoSPARC's guide ("Using CryoSPARC with Cluster Management Software"), seen on 27 November 2026.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path
from pydantic import BaseModel, Field

from napari_gempick.cluster.folder import LAUNCHER, SCRIPT
from napari_gempick.cluster.site import ShellText, Site
from napari_gempick.io.atomic import write_text
from napari_gempick.io.reading import checked, read_object
from napari_gempick.io.star import read_text
from napari_gempick.model.errors import InputError, OutputError, SettingsError

if TYPE_CHECKING:
    from napari_gempick.cluster.folder import Job

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
