"""What one rank has: its GPUs and cores among those of its node, and the plan that it shares with ranks of its kind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from napari_gempick.device.cores import usable_cores
from napari_gempick.device.plan import PlanStore, library_versions
from napari_gempick.model.errors import DeviceError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.cluster.folder import Job

GPU_WEIGHT = 64
"""Cores that a GPU counts for when the bank is shared out."""


def check_world(size: int, promised: int | None) -> None:
    """Compare the number of ranks with the number that the job asked for.

    Parameters
    ----------
    size : int
        Ranks that MPI knows.
    promised : int, optional
        Ranks that the script asked for. Default: what the scheduler says of its tasks.

    Raises
    ------
    SettingsError
        They differ; N programs that each think they are alone would do the same work N times.
    """
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or ""
    if promised is None and size == 1 and tasks.isdigit():
        promised = int(tasks)
    if promised is not None and size != promised:
        alone = (
            "the ranks were started as separate programs that do not see each other; "
            if size == 1
            else "the launcher started a different number of ranks than the script requests; "
        )
        raise SettingsError(
            f"{promised} MPI ranks were expected, but MPI reports {size}: {alone}use srun with the --mpi that fits "
            "mpi4py's MPI library (--mpi=pmi2 for MPICH, --mpi=pmix for Open MPI), or that library's own mpiexec."
        )


def visible_gpus() -> tuple[str, ...]:
    """Return an identity of each GPU that this process sees: bus address with CuPy, else CUDA_VISIBLE_DEVICES."""
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        return tuple(cupy.cuda.runtime.deviceGetPCIBusId(number) for number in range(count))
    except Exception:  # no CuPy, no driver: CuPy raises its own classes, each version others
        listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return tuple(name.strip() for name in listed.split(",") if name.strip() not in ("", "-1", "NoDevFiles"))


def gpus_of_rank(visible: Sequence[Sequence[str]], rank: int) -> tuple[int, ...]:
    """Return which of its visible GPUs a rank takes.

    Parameters
    ----------
    visible : sequence of sequence of str
        Identities of the GPUs that each rank of the node sees.
    rank : int
        Its number on the node.

    Returns
    -------
    tuple of int
        Places in `visible[rank]`. Ranks that see the same GPUs share them out; others have their own.
    """
    mine = list(visible[rank])
    sharing = [other for other, gpus in enumerate(visible) if set(gpus) == set(mine)]
    place, count = sharing.index(rank), len(sharing)
    if not mine:
        return ()
    if count > len(mine):
        return (place % len(mine),)
    return tuple(range(place * len(mine) // count, (place + 1) * len(mine) // count))


def threads_of_rank(cores: Sequence[Sequence[int]], rank: int) -> int:
    """Return a rank's share of cores; `cores` are those that each rank of the node may use."""
    mine = set(cores[rank])
    sharing = [other for other, theirs in enumerate(cores) if set(theirs) == mine]
    place, count = sharing.index(rank), len(sharing)
    return max(1, len(mine) // count + (place < len(mine) % count))


def own_cores() -> list[int]:
    """Return the cores that this process may run on."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return list(range(os.cpu_count() or 1))


def devices_of_rank(job: Job, rank: int, facts: Sequence[Any]) -> tuple[str, int]:
    """Return the devices and CPU threads of a rank.

    Parameters
    ----------
    rank : int
        Its number on the node.
    facts : sequence of (GPUs, cores)
        What each rank of the node sees: `visible_gpus` and `own_cores`.

    Raises
    ------
    DeviceError
        GPUs were requested, but this rank sees none.
    """
    limited = any(os.environ.get(name, "").isdigit() for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"))
    share = usable_cores() if limited else min(usable_cores(), threads_of_rank([f[1] for f in facts], rank))
    threads = job.settings.threads or share
    if job.settings.devices != "auto":
        return job.settings.devices, threads
    if not job.cluster.gpus_per_node:
        return "cpu", threads
    chosen = gpus_of_rank([f[0] for f in facts], rank)
    if not chosen:
        raise DeviceError(
            f"{job.cluster.gpus_per_node} GPUs per node were requested, but this rank sees none; check the scheduler's "
            "GPU options, or export the job with --gpus-per-node 0."
        )
    return ",".join(f"cuda:{number}" for number in chosen), threads


def kind_of_node() -> str:
    """Return a name of this processor and these libraries: ranks of one kind share a plan."""
    return hashlib.blake2b(json.dumps(library_versions()).encode(), digest_size=6).hexdigest()


def open_plan(job: Job) -> PlanStore:
    """Open the plan of this rank's kind: the job's, or beside it one that begins with the job's tile shapes."""
    if job.content["plan_of"] == library_versions():
        return PlanStore(job.plan)
    own = job.folder / f"plan-{kind_of_node()}.json"
    if not own.exists() and job.plan.exists():
        content = json.loads(job.plan.read_text(encoding="utf-8"))
        temporary = own.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({**content, "wisdom": None}), encoding="utf-8")
        shutil.move(temporary, own)
    return PlanStore(own)
