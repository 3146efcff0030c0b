"""Draw docs/images/rooms.png: the rooms of the source tree in the order in which they may import one another.

Run from the root of the repository: python docs/figures/rooms.py (or make figures). The layers are those that
import-linter checks (pyproject.toml), the numbers are lines of code.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from picture import save_small

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SOURCE = Path("src/napari_gempick")
TARGET = Path("docs/images/rooms.png")
COLOURS = {"widgets": "#cde4f5", "cli": "#cde4f5", "engine": "#fbe3bf", "device": "#fbe3bf", "io": "#d9ead3"}


def main() -> None:
    """Read the layers, count lines, draw."""
    contracts = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if any(name.endswith(".engine") for name in one.get("layers", ())))
    rows = [[name.strip().removeprefix("napari_gempick.") for name in layer.split("|")] for layer in layers]
    figure = Figure((8.4, 0.52 * len(rows) + 0.3))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 8.4), ylim=(-len(rows), 0.3))
    axes.axis("off")
    for y, names in enumerate(rows):
        width = 6.2 / len(names)
        for x, name in enumerate(names):
            _box(axes, 0.2 + x * width, -y - 0.85, width - 0.1, 0.75, name)
    above = next(y for y, names in enumerate(rows) if "engine" in names)  # which knows no files
    _box(axes, 6.6, 0.15 - above, 1.6, above - 0.25, "io")
    axes.annotate("", (6.5, -len(rows) + 0.2), (6.5, 0.1), arrowprops={"arrowstyle": "->", "color": "0.4"})
    save_small(figure, TARGET, dpi=110)


def _box(axes: Axes, x: float, y: float, width: float, height: float, name: str) -> None:
    colour = COLOURS.get(name, "#eeeeee")
    axes.add_patch(FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=0.08", fc=colour, ec="0.5"))
    path = SOURCE / name
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    axes.text(x + width / 2, y + height / 2, f"{name}\n{lines:,} lines", ha="center", va="center", fontsize=8)


if __name__ == "__main__":
    main()
