"""What `gempick watch` costs beside the search when there are many files: time, memory, and how often it writes.

`python benchmarks/watch.py [--files 20000]` lets links to one micrograph arrive, a twentieth at a time. No search is
made, and the results of each micrograph are links too. It prints a line for each tenth of them.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_gempick.engine.matching.pipeline import Outcome
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.settings import make_settings
from napari_gempick.results.folder import Results
from napari_gempick.workflows import watch
from napari_gempick.workflows.pick import Picking, pick_files
from napari_gempick.workflows.watch_settings import make_watch_settings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), files)


def measure(folder, files):
    y, x = np.mgrid[-12:12, -12:12]
    spot = np.exp(-(x**2 + y**2) / 30).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    noise[30:54, 60:84] += 5 * spot
    write_mrc(folder / "one.mrc", noise, 4.0)
    write_mrc(folder / "template.mrc", spot, 4.0)
    values = {"templates": (str(folder / "template.mrc"),), "mask": ("circle:80",), "angle_step": 0.0}
    settings = make_settings(values)
    (made,) = pick_files(settings, find_micrographs([folder / "one.mrc"]), folder / "first")["micrographs"]
    (folder / "in").mkdir()
    calls = {"looks": 0, "writes": 0}
    came = [0]

    def search(self, loaders, progress, cancel=None):
        for number, _ in enumerate(loaders):
            yield Outcome(number)

    def finish(self, micrograph, outcome):
        results = self.results
        for path, source in ((results.candidates(micrograph), "candidates/one.star"),
                             (results.coordinates(micrograph), "one_autopick.star")):  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / "first" / source, path)
        return {**made, "name": micrograph.output_stem, "path": str(micrograph.path)}

    def counted(function, what):
        def wrapped(*args, **how):
            calls[what] += 1
            return function(*args, **how)

        return wrapped

    Picking.search, Picking.finish = search, finish
    Results.write_index = counted(Results.write_index, "writes")
    watch.Arrivals.look = counted(watch.Arrivals.look, "looks")
    begun = time.process_time()

    def more():
        for number in range(came[0], min(files, came[0] + files // 20)):
            os.symlink(folder / "one.mrc", folder / f"in/micrograph_{number:06d}.mrc")
        came[0] += files // 20

    done = [0]
    print("micrographs  CPU s  looks  writes  memory MiB")

    def tell(event, facts):
        if event == "idle":
            more()
        elif event == "done":
            done[0] += 1
            if done[0] % (files // 10) == 0:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                took = time.process_time() - begun
                print(f"{done[0]:11d} {took:6.1f} {calls['looks']:6d} {calls['writes']:7d} {peak:11d}", flush=True)

    quick = make_watch_settings({"poll": "0.1s", "settle": "0.05s", "until_idle": "1s"})
    watch.watch_folders(settings, [folder / "in"], folder / "out", quick, tell=tell)
    again = time.process_time()
    watch.watch_folders(settings, [folder / "in"], folder / "out", quick, tell=lambda event, facts: None)
    print(f"started again with all of them done: {time.process_time() - again:.1f} s")


if __name__ == "__main__":
    main()
