"""The cost model: how long a job takes in either distribution, and which to choose.

With M micrographs, K search images, R ranks of C threads, t seconds for a search image on one thread, p seconds to read
and prepare a micrograph, and maps of B bytes (8 for each position and pair of maps) sent at W bytes per second:

    per micrograph   ceil(M / R) (p + K t / C)
    per template     M (p + ceil(K / R) t / C + ceil(log2 R) B / W)

The faster one is chosen; a tie goes to the micrographs, which need no messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LINK = 1e9
"""Bytes per second that one round of the reduction takes, message and maximum: assumed, for a cluster's network."""


@dataclass(frozen=True)
class Cost:
    """Seconds in either distribution.

    Attributes
    ----------
    micrographs, templates : float
    """

    micrographs: float
    templates: float

    @property
    def choice(self) -> str:
        """The distribution that ends first."""
        return "templates" if self.templates < self.micrographs else "micrographs"


def cost(
    micrographs: int,
    search_images: int,
    ranks: int,
    threads: int,
    seconds: float,
    preparation: float,
    map_bytes: int,
) -> Cost:
    """Return the expected seconds of a job; see the module for the model.

    Parameters
    ----------
    micrographs, search_images, ranks, threads : int
        M, K, R, C.
    seconds, preparation : float
        t and p.
    map_bytes : int
        B.
    """
    rounds = math.ceil(math.log2(ranks)) if ranks > 1 else 0
    search = seconds / threads
    return Cost(
        math.ceil(micrographs / ranks) * (preparation + search_images * search),
        micrographs * (preparation + math.ceil(search_images / ranks) * search + rounds * map_bytes / LINK),
    )
