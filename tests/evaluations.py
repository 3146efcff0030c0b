"""Picks, truth and `gempick evaluate`, for the tests."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
from click.testing import CliRunner, Result

from helpers import picks_at
from napari_gempick.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.model.picks import Picks

SHAPE = (1000, 1400)
VIEWS = ("side", "top")


def evaluate(*arguments: object, tolerance: object = 20) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments), "--tolerance", str(tolerance)])


def evaluated(*arguments: object, **options: object) -> dict:
    result = evaluate(*arguments, "--json", **options)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def some_picks(positions, sections=None) -> Picks:
    x, y = np.array(positions, float).reshape(-1, 2).T
    return picks_at(x, y, score=np.linspace(0.9, 0.5, len(x)), section=0 if sections is None else sections)


def write_truth(path: Path, positions, **columns) -> Path:
    rows = [{"x": x, "y": y, **{k: v[i] for k, v in columns.items()}} for i, (x, y) in enumerate(positions)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["x", "y", *columns])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_run(folder: Path, names) -> None:
    """run.json as `gempick pick` writes it, as far as it matters: sections 1 and 2 are side views, 3 is a top view."""
    views = [{"name": "side", "sections": 2}, {"name": "top", "sections": 1}]
    rows = [{"name": name, "path": f"/data/{name}.mrc", "picks": 1, "shape": list(SHAPE)} for name in names]
    run = {"settings": {}, "diameter": 200.0, "views": views, "micrographs": rows}
    (folder / "run.json").write_text(json.dumps(run))
