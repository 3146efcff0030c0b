"""Whole runs of `gempick pick` against the sum of their search times, and how fast they are without a search.

`python benchmarks/pipeline.py [--micrographs 40] [--threads 2]` runs `gempick bench --pipeline` for files of int8 and
float32 and for a device that answers at once, each in a process of its own, and prints a line of a Markdown table for
each. Memory that does not grow with the number of micrographs shows in two runs with different `--micrographs`.
"""

import argparse
import json
import subprocess
import sys

CASES = (("int8", "cpu"), ("float32", "cpu"), ("int8", "none"), ("float32", "none"))
HEADS = (
    "pixels",
    "devices",
    "micrographs/s",
    "seconds per micrograph",
    "over its search",
    "cores",
    "read, prepare, write (s)",
    "devices busy",
    "peak memory (MiB)",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--micrographs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|", sep="\n")
    for pixels, devices in CASES:
        words = [sys.executable, "-m", "napari_gempick", "bench", "--pipeline", "--json", "--pixels", pixels]
        words += ["--devices", devices, "--micrographs", str(asked.micrographs), "--threads", str(asked.threads)]
        found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
        cells = [pixels, devices, *cells_of(found)]
        print(f"| {' | '.join(cells)} |", flush=True)


def cells_of(found):
    """Return what a line of the table says after its case."""
    took, search = found["seconds_per_micrograph"], found["search_seconds"]
    stages = ", ".join(f"{found['stages'][name]:.2f}" for name in ("read", "prepare", "write"))
    return [
        f"{found['micrographs_per_second']:.2f}",
        f"{took:.2f}",
        "" if found["devices"] == "none" else f"{took / search:.2f}",
        f"{found['cores_used']:.2f}",
        stages,
        f"{100 * found['devices_busy']:.0f} %",
        f"{found['peak_memory_mib']:.0f}",
    ]


if __name__ == "__main__":
    main()
