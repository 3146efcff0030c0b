"""What a file name says about the micrograph: its stem."""

from __future__ import annotations

import re

_SUFFIX = re.compile(
    r"(\.(star|csv|tsv|tab|txt|c?box|csg?|pos|tiff?|eer|mrcs?(\.gz|\.bz2)?)|(_info)?\.json)$", re.IGNORECASE
)
_ENDING = re.compile(r"_(autopick|automatch|manualpick|topaz|truth|picks)$")


def stem_of(name: str) -> str:
    """Return the micrograph's name that a file name stands for: without suffix, _autopick, _truth or _picks."""
    return _ENDING.sub("", _SUFFIX.sub("", name)) or name
