"""What a cluster is asked for, declared once: the command line, the window, job.json and submit scripts read this."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from napari_gempick.model.declaration import Settings, declare

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORD = re.compile(r"[\w.,:@+/=-]+")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")


_resource = functools.partial(declare, group="Resources")
_more = functools.partial(declare, group="More")


class ClusterSettings(Settings):
    """Resources, scheduler and environment of a job."""

    site: str = declare(
        "slurm",
        "Scheduler: slurm, pbs, sge, lsf, mpirun (this machine, without one), the name of a template in the user's "
        "configuration folder, or a folder with cryoSPARC's cluster_info.json and cluster_script.sh.",
        metavar="NAME|FOLDER",
        label="Scheduler",
        group="Site",
    )
    job_name: str = _more("gempick", "Name that the scheduler shows.")
    nodes: int = _resource(1, "Nodes.", ge=1)
    tasks_per_node: int = _resource(1, "MPI ranks on each node; one for each GPU, or one with all cores.", ge=1)
    cpus_per_task: int = _resource(1, "Cores, and so threads, of each rank.", ge=1, label="Cores per task")
    gpus_per_node: int = _resource(0, "GPUs on each node, divided among its ranks.", ge=0, label="GPUs per node")
    memory: int | None = _resource(
        None,
        "Memory of each node. Default: as estimated.",
        unit="GB",
        ge=1,
        label="Memory per node",
        empty="as estimated",
    )
    walltime: str = _resource("24:00:00", "Longest run: HH:MM:SS or D-HH:MM:SS.", label="Longest run")
    warning: int = _more(
        120,
        "How long before the walltime the job is told to end; it then finishes the current micrograph.",
        unit="s",
        ge=0,
        label="Warning before the end",
    )
    partition: str = _resource("", "Partition or queue.")
    account: str = _resource("", "Account or project to charge.")
    environment: tuple[str, ...] = declare(
        (),
        "Shell line that makes the program available, such as: module load openmpi.",
        metavar="LINE",
        label="Environment",
        group="Environment",
        kind="lines",
    )
    directive: tuple[str, ...] = _more(
        (),
        "Further option of the scheduler, such as --constraint=avx512.",
        metavar="OPTION",
        label="Scheduler options",
        kind="lines",
    )
    launcher: Literal["auto", "srun", "mpiexec"] = _more(
        "auto", "What starts the ranks; auto: srun with Slurm, mpiexec elsewhere."
    )
    launcher_option: tuple[str, ...] = _more(
        (),
        "Further argument of srun or mpiexec, such as --mpi=pmix, which replaces --mpi=pmi2.",
        metavar="OPTION",
        label="Launcher options",
        kind="lines",
    )
    mpiexec: str = _more(
        "mpiexec", "The mpiexec of the MPI library that mpi4py uses.", metavar="FILE", label="mpiexec on the nodes"
    )
    python: str = _more(
        "python",
        "The interpreter on the nodes, with napari-gempick and mpi4py.",
        metavar="FILE",
        label="Python on the nodes",
    )
    distribution: Literal["auto", "micrographs", "templates"] = _more(
        "auto",
        "What a rank works on: micrographs of its own, handed out one by one, or its share of the templates of every "
        "micrograph; auto: the one that the cost model expects to finish first.",
    )
    variable: tuple[str, ...] = _more(
        (),
        "Value of a variable that the template of a site of your own needs.",
        metavar="NAME=VALUE",
        label="Variables",
        kind="lines",
    )

    @field_validator("*")
    @classmethod
    def _no_newlines(cls, value: Any) -> Any:
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and any(ord(mark) < 32 or ord(mark) == 127 for mark in text):
                raise ValueError(f"{text!r} has a newline or another control character; take it out")
        return value

    @field_validator("job_name", "partition", "account")
    @classmethod
    def _plain(cls, text: str) -> str:
        if text and (not _WORD.fullmatch(text) or text.startswith("-")):
            raise ValueError(f"{text!r}: letters, digits and _.,:@+/=- are allowed")
        return text

    @field_validator("walltime")
    @classmethod
    def _time(cls, text: str) -> str:
        if not _WALLTIME.fullmatch(text):
            raise ValueError(f"{text!r}: write HH:MM:SS or D-HH:MM:SS")
        return text

    @field_validator("variable")
    @classmethod
    def _named(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            if not text.partition("=")[0].isidentifier() or "=" not in text:
                raise ValueError(f"{text!r}: write NAME=VALUE")
        return texts

    @property
    def ranks(self) -> int:
        """MPI ranks in all."""
        return self.nodes * self.tasks_per_node

    @property
    def seconds(self) -> int:
        """The walltime in seconds."""
        match = _WALLTIME.fullmatch(self.walltime)
        assert match is not None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


make_cluster = ClusterSettings.model_validate
"""Build cluster settings from plain values; raises SettingsError, one sentence that names each wrong setting."""


def as_cluster(given: ClusterSettings | Mapping[str, Any]) -> ClusterSettings:
    """Return cluster settings as they are given, or made of a mapping; errors as make_cluster."""
    return given if isinstance(given, ClusterSettings) else make_cluster(dict(given))
