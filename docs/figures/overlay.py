"""Make docs/images/overlay.png, the picture of the README: the demo's overlay, smaller.

Run from the root of the repository after make demo: python docs/figures/overlay.py (or make figures).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from picture import save_picture
from PIL import Image

from napari_gempick.evaluation.plots import BRIGHT_COLOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE, TARGET = Path("demo_output/micrograph_001_overlay.png"), Path("docs/images/overlay.png")
WIDTH = 880
MARKS = (*BRIGHT_COLOURS[:2], "#FF3B30")


def palette() -> NDArray[np.uint8]:
    """Return the (n, 3) colours of the picture's file: greys, and the marks' colours towards black and white."""
    greys = np.linspace(0, 1, 40)[:, None] * np.ones(3)
    marks = np.array([to_rgb(colour) for colour in MARKS])
    share = np.linspace(0, 1, 8)[:, None, None]
    towards = [(share * marks).reshape(-1, 3), (share + (1 - share) * marks).reshape(-1, 3)]
    return np.round(255 * np.concatenate([greys, *towards])).astype(np.uint8)


if __name__ == "__main__":
    picture = Image.open(SOURCE)
    height = round(picture.height * WIDTH / picture.width)
    save_picture(picture.resize((WIDTH, height), Image.Resampling.LANCZOS), TARGET, palette())
