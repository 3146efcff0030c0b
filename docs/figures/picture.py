"""Write pictures small enough for the repository: with a palette of at most 256 colours."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray


def save_small(figure: Figure, target: Path, palette: NDArray[np.uint8] | None = None, *, dpi: int = 125) -> None:
    """Write a figure as a PNG with the (n, 3) colours of a palette, or with those that serve it best."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    save_picture(Image.open(stream), target, palette)


def save_picture(picture: Image.Image, target: Path, palette: NDArray[np.uint8] | None = None) -> None:
    """Write a picture as a PNG with the (n, 3) colours of a palette, or with those that serve it best."""
    picture = picture.convert("RGB")
    if palette is None:
        flat = picture.quantize(256, dither=Image.Dither.NONE)
    else:
        nearest = cKDTree(palette).query(np.asarray(picture))[1]
        flat = Image.fromarray(nearest.astype(np.uint8))
        flat.putpalette(palette.tobytes())
    flat.save(target, optimize=True)
    print(f"{target}: {flat.width} x {flat.height} px, {target.stat().st_size / 1000:.0f} kB")
