"""Combine score and index maps over MPI ranks: the tree against a direct gather and a plain MPI.Reduce.

    mpiexec -n 4 python -m mpi4py benchmarks/reduction.py [--size 4096] [--repeats 5] [--json FILE]
    python benchmarks/reduction.py --all [--json FILE] [--plot FILE]      2, 4, 8 ranks, each in a run of its own

Every rank holds a random pair of maps, float32 and int32, `size` squared. The three ways take turns; the median counts.
`plain_reduce` is MPI.Reduce with MPI.MAXLOC on MPI.FLOAT_INT, the same bytes; the results are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_gempick.cluster.mpi.shared_search import combine, pack
from napari_gempick.cluster.mpi.shared_search import tree as reduced

RANKS = (2, 4, 8)


def drained(steps: Any) -> Any:
    """Run a generator without pausing; return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def gathered(comm: Any, pairs: Any) -> Any:
    """Combine the maps at rank 0, which takes those of every other rank."""
    return combine(comm, pairs, list(range(1, comm.size)) if comm.rank == 0 else [], 0 if comm.rank else None)


def measure(size: int, repeats: int) -> dict[str, Any]:
    """Return the figures of this run, complete at rank 0."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    rng = np.random.default_rng(comm.rank)
    score = rng.integers(0, 1000, size * size).astype(np.float32)  # ties
    mine = pack(score, np.full(score.shape, comm.rank, np.int32))
    wanted = np.empty_like(mine)
    times: dict[str, list[float]] = {"tree": [], "gather": [], "plain_reduce": []}
    counters: dict[str, Any] = {}
    for _ in range(repeats):
        for name in times:
            pairs = mine.copy()
            comm.Barrier()
            started = time.perf_counter()
            if name == "plain_reduce":
                comm.Reduce([pairs, MPI.FLOAT_INT], [wanted, MPI.FLOAT_INT], op=MPI.MAXLOC)
            else:
                counters[name] = drained(reduced(comm, pairs) if name == "tree" else gathered(comm, pairs))
            comm.Barrier()
            times[name].append(time.perf_counter() - started)
            if name == "tree":
                tree = pairs
            elif name == "gather" and comm.rank == 0:
                assert np.array_equal(tree, pairs)
        if comm.rank == 0:
            assert np.array_equal(tree, wanted)
    return {
        "ranks": comm.size,
        "cores": len(os.sched_getaffinity(0)),
        "size": size,
        "bytes_per_rank": mine.nbytes,
        "library": MPI.Get_library_version().split("\n")[0],
        "rounds": {name: found.rounds for name, found in counters.items()},
        "seconds": {name: float(np.median(values)) for name, values in times.items()},
    }


def run_all(size: int, repeats: int) -> list[dict[str, Any]]:
    """Measure each number of ranks in a run of its own."""
    rows = []
    beside = Path(sys.executable).parent / "mpiexec"
    for ranks in RANKS:
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            words = [str(beside) if beside.exists() else "mpiexec", "-n", str(ranks), sys.executable, "-m", "mpi4py"]
            words += [__file__, "--size", str(size), "--repeats", str(repeats), "--json", out.name]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            rows.append(json.loads(Path(out.name).read_text()))
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw seconds against ranks, with a mark where ranks exceed cores."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    ranks = [row["ranks"] for row in rows]
    styles = {"tree": "o-", "gather": "s--", "plain_reduce": "^:"}
    labels = {"tree": "tree", "gather": "direct gather", "plain_reduce": "plain MPI.Reduce"}
    for name, style in styles.items():
        axes.plot(ranks, [row["seconds"][name] for row in rows], style, label=labels[name])
    cores = rows[0]["cores"]
    axes.axvline(cores, color="grey", lw=1)
    axes.annotate(f" more ranks than cores ({cores}) →", (cores, 0), color="grey", va="bottom")
    axes.set(xlabel="ranks", ylabel=f"seconds, {rows[0]['size']}² pair of maps", xscale="log", xticks=ranks, ylim=0)
    axes.set_xticks(ranks, [str(n) for n in ranks])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=110)


def show(row: dict[str, Any]) -> str:
    """Return one row of the table in docs/cluster.md."""
    seconds, rounds = row["seconds"], row["rounds"]
    ratio = seconds["plain_reduce"] / seconds["tree"]
    return (
        f"| {row['ranks']} | {rounds['tree']} | {rounds['gather']} | {seconds['tree']:.2f} | {seconds['gather']:.2f} "
        f"| {seconds['plain_reduce']:.2f} | {ratio:.2f} |"
    )


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.all:
        rows = run_all(options.size, options.repeats)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))
        if options.plot:
            plot(rows, options.plot)
        print("| ranks | rounds, tree | receives, gather | tree s | gather s | plain MPI.Reduce s | plain / tree |")
        print("|---|---|---|---|---|---|---|")
        print("\n".join(show(row) for row in rows))
        return
    row = measure(options.size, options.repeats)
    from mpi4py import MPI

    if MPI.COMM_WORLD.rank == 0:
        print(show(row))
        if options.json:
            options.json.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
