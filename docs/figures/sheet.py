"""Make docs/images/sheet.png, the particle sheet of the sample data.

Run from the root of the repository after make demo: python docs/figures/sheet.py (or make figures).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from picture import save_picture
from PIL import Image

from napari_gempick.evaluation.plots import COLOURS
from napari_gempick.report.gather import gather
from napari_gempick.report.html import plot_sheet

TARGET = Path("docs/images/sheet.png")

if __name__ == "__main__":
    greys = np.linspace(0, 1, 32)[:, None] * np.ones(3)
    marks = np.array([to_rgb(colour) for colour in COLOURS[:2]])
    towards = np.concatenate([share + (1 - share) * marks for share in np.linspace(0, 1, 4)])
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "sheet.png"
        plot_sheet(large, gather(Path("demo_output")), dpi=90)
        palette = np.round(255 * np.concatenate([greys, towards])).astype(np.uint8)
        save_picture(Image.open(large).convert("RGB"), TARGET, palette)
