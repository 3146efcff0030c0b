"""napari-gempick: template-matching particle picking for cryo-electron micrographs."""

from __future__ import annotations

__version__ = "0.1.0"
