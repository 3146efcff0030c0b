"""Draw docs/images/ncc.png: from a micrograph, a template and a mask to the score map, the index map and the picks.

Run from the root of the repository: python docs/figures/ncc.py (or make figures).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from mrcfile import read as read_mrc
from picture import save_small
from scipy.ndimage import gaussian_filter

from napari_gempick.io.coordinates import read_coordinates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

DATA = Path("sample_data")
TARGET = Path("docs/images/ncc.png")
VIEWS = ("side", "top")
ROWS, COLUMNS = slice(455, 755), slice(35, 385)  # pixels of the micrograph
FAINT = 0.1
RADIUS = 50
COLOURS = {"side": "#56B4E9", "top": "#E69F00"}
SHADES = {"side": "Blues", "top": "Oranges"}


def pick(folder: Path) -> dict[str, Any]:
    """Pick the first micrograph with its maps and return what run.json says."""
    arguments = [f"{DATA}/micrograph_001.mrc", "--save-maps", "-o", str(folder)]
    for view in VIEWS:
        arguments += ["--templates", f"{view}={DATA}/template_{view}.mrc", "--mask", f"{view}={DATA}/mask_{view}.mrc"]
    subprocess.run([sys.executable, "-m", "napari_gempick", "pick", *arguments], check=True)
    run: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return run


def show(axes: Axes, image: NDArray[Any], title: str, **options: Any) -> None:
    """Show a part of the micrograph or of a map, in the micrograph's pixels."""
    height, width = image.shape
    left, top = COLUMNS.start - 0.5, ROWS.start - 0.5
    axes.imshow(image, extent=(left, left + width, top + height, top), interpolation="nearest", **options)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set(xticks=[100, 200, 300], yticks=[500, 600, 700])
    axes.tick_params(labelsize=7, length=2)


def show_pair(axes: Axes, images: list[NDArray[Any]], title: str) -> None:
    """Show the image of the side and of the top view, side by side."""
    scaled = [(image - image.min()) / np.ptp(image) for image in images]
    gap = np.ones((images[0].shape[0], 8))
    axes.imshow(np.hstack([scaled[0], gap, scaled[1]]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=10)
    width = images[0].shape[1]
    axes.set_xticks([width / 2, 1.5 * width + 8], VIEWS, fontsize=9)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def index_colours(images: dict[str, list[Any]]) -> ListedColormap:
    """Return a colour for each k: a hue for each view, darker with psi."""
    shades = [
        mpl.colormaps[SHADES[view]](0.25 + 0.75 * psi / 360)
        for view, psi in zip(images["view"], images["psi"], strict=True)
    ]
    return ListedColormap(shades)


def draw(run: dict[str, Any], folder: Path) -> Figure:
    """Return the figure."""
    part = (ROWS, COLUMNS)
    micrograph = gaussian_filter(read_mrc(DATA / "micrograph_001.mrc").astype(np.float32), 1.0)[part]
    score, index = (read_mrc(folder / "maps" / f"micrograph_001_{which}.mrc")[part] for which in ("ncc", "index"))
    low, high = np.percentile(micrograph, (0.5, 99.5))
    grey: dict[str, Any] = {"cmap": "gray", "vmin": low, "vmax": high}
    figure = Figure(figsize=(9.6, 6.6), layout="constrained")
    axes = figure.subplots(3, 3, height_ratios=(1, 1, 0.05))
    axes[2, 2].set_axis_off()
    show(axes[0, 0], micrograph, "a   micrograph (a part)", **grey)
    for column, kind, letter in ((1, "template", "b"), (2, "mask", "c")):
        pair = [read_mrc(DATA / f"{kind}_{view}.mrc") for view in VIEWS]
        show_pair(axes[0, column], pair, f"{letter}   {kind}s, psi 0")
    show(axes[1, 0], score, "d   score map: NCC, max over k", cmap="magma", vmin=-0.1, vmax=0.8)
    bar = figure.colorbar(axes[1, 0].images[0], cax=axes[2, 0], orientation="horizontal")
    bar.ax.tick_params(labelsize=7)
    images = run["search_images"]
    colours, count = index_colours(images), len(images["k"])
    clear = np.where(score < FAINT, np.nan, index)
    show(axes[1, 1], clear, f"e   index map (where NCC > {FAINT:g})", cmap=colours, vmin=-0.5, vmax=count - 0.5)
    axes[1, 1].set_facecolor("#DDDDDD")
    bar = figure.colorbar(axes[1, 1].images[0], cax=axes[2, 1], orientation="horizontal")
    ticks = [0, count // 4, count // 2, 3 * count // 4, count - 1]
    bar.set_ticks(ticks, labels=[f"{images['view'][k]}\n{images['psi'][k]:g}°" for k in ticks], fontsize=7)
    show(axes[1, 2], micrograph, "f   picks: peaks of d from 0.4 on", **grey)
    draw_picks(axes[1, 2], folder)
    marks = [Line2D([], [], marker="o", ls="", mfc="none", mew=1.6, color=COLOURS[view], label=view) for view in VIEWS]
    axes[2, 2].legend(handles=marks, fontsize=9, loc="center", ncols=2, frameon=False)
    return figure


def draw_picks(axes: Axes, folder: Path) -> None:
    """Draw circles at the picks, with a line from the centre along psi."""
    picks = read_coordinates(folder / "micrograph_001_autopick.star").picks
    for section, view in enumerate(VIEWS):
        these = picks.take(picks.section == section)
        for x, y, psi in zip(these.x, these.y, np.deg2rad(these.psi), strict=True):
            axes.add_patch(Circle((x, y), RADIUS, fill=False, color=COLOURS[view], lw=1.6))
            tip = x + RADIUS * np.cos(psi), y - RADIUS * np.sin(psi)
            axes.plot([x, tip[0]], [y, tip[1]], color=COLOURS[view], lw=1.6)
    axes.set(xlim=(COLUMNS.start - 0.5, COLUMNS.stop - 0.5), ylim=(ROWS.stop - 0.5, ROWS.start - 0.5))


def palette() -> NDArray[np.uint8]:
    """Return the (n, 3) colours of the picture's file: those of the maps, and greys."""
    greys = np.repeat(np.linspace(0, 1, 80)[:, None], 3, axis=1)
    views = [mpl.colormaps[shades](np.linspace(0.25, 1, 35))[:, :3] for shades in SHADES.values()]
    marks = np.array([to_rgb(colour) for colour in COLOURS.values()])
    colours = np.concatenate([greys, mpl.colormaps["magma"](np.linspace(0, 1, 90))[:, :3], *views, marks])
    return np.round(255 * colours).astype(np.uint8)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        save_small(draw(pick(Path(temporary)), Path(temporary)), TARGET, palette())
