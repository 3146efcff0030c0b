"""The reduction over ranks: rounds, ties, and the same result as MPI's own."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster_jobs import mpiexec
from napari_gempick.cluster.mpi.shared_search import children_of, pack, unpack

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "reduction.py"


@pytest.mark.parametrize("size", range(1, 40))
def test_every_rank_sends_once_and_rank_0_takes_part_in_log2_rounds(size):
    senders = [child for rank in range(size) for child in children_of(rank, size)]
    assert sorted(senders) == list(range(1, size))
    assert len(children_of(0, size)) == math.ceil(math.log2(size)) if size > 1 else not senders
    for rank in range(size):
        assert all(child & (child - 1) == rank for child in children_of(rank, size))


def test_pairs_hold_both_maps():
    score, index = np.random.default_rng(0).random((3, 5), np.float32), np.arange(15, dtype=np.int32).reshape(3, 5)
    pairs = pack(score, index)
    one, other = np.zeros_like(score), np.zeros_like(index)
    unpack(pairs, one, other)
    assert (one == score).all()
    assert (other == index).all()


@pytest.mark.parametrize("ranks", [3, 8])
def test_tree_gather_and_reduce_agree(ranks, tmp_path):
    """The benchmark compares the three results, with ties, over several pieces."""
    out = tmp_path / "out.json"
    words = [mpiexec(), "-n", str(ranks), sys.executable, "-m", "mpi4py", str(BENCHMARK)]
    words += ["--size", "500", "--repeats", "1", "--json", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    rounds = json.loads(out.read_text())["rounds"]
    assert rounds == {"tree": math.ceil(math.log2(ranks)), "gather": ranks - 1}
