"""Images of particles among micrographs: class averages, templates and masks that lie in the same folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_gempick.io.images.micrograph import sides_of

if TYPE_CHECKING:
    from collections.abc import Collection

LARGEST, SMALLER = 512, 4
"""A square of up to this many pixels a side is an image of a particle beside an image whose sides are this many times
as long."""
_BYTES = 2 * 4 * LARGEST**2
"""More than a file of such an image takes, with its header."""


def may_be_particle(sides: tuple[int, int]) -> bool:
    """Return whether an image of (ny, nx) pixels can be one of a particle."""
    return sides[0] == sides[1] <= LARGEST


def is_particle(sides: tuple[int, int], largest: int) -> bool:
    """Return whether an image is one of a particle, beside an image whose shorter side has `largest` pixels."""
    return may_be_particle(sides) and SMALLER * sides[0] <= largest


def particle_images(paths: Collection[str]) -> set[str]:
    """Return which images of a folder are those of particles: small squares beside an image that is far larger.

    Only headers of small files are read, and that of the largest file.
    """
    sizes = {path: os.path.getsize(path) for path in paths if os.path.exists(path)}
    small = [path for path, size in sizes.items() if size <= _BYTES]
    if not small:
        return set()
    looked_at = {*small, max(sizes, key=lambda path: sizes[path])}
    sides = {path: found for path in looked_at if (found := sides_of(path)) is not None}
    largest = max((min(one) for one in sides.values()), default=0)
    return {path for path in small if path in sides and is_particle(sides[path], largest)}
