"""The plan: tile shape and FFTW wisdom, made once, stored, and the same for every process that uses it.

FFTW_MEASURE chooses by timing, so two processes that plan for themselves may differ in the last bits of a score.
The wisdom of the first one is stored in the user's cache (or a file of the caller's choice) and read by all others.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import logging
import os
import platform
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from platformdirs import user_cache_path

from napari_gempick.device.locks import locked
from napari_gempick.model.errors import SettingsError


def _import_pyfftw() -> Any:
    """Return pyfftw, or None where it is absent (scipy.fft serves instead; see fft.py).

    Where dask is installed, as with napari, pyfftw imports all of it for an interface that is not used here, and a
    program starts half a second later: so it does not find that part of dask.
    """
    unused = "dask.array.fft"
    hidden = sys.modules.setdefault(unused, cast("Any", None)) is None
    try:
        return importlib.import_module("pyfftw")
    except ImportError:
        return None
    finally:
        if hidden:
            del sys.modules[unused]


pyfftw = _import_pyfftw()

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOG = logging.getLogger(__name__)
PATIENCE = 60.0
"""Seconds to wait for a process that makes a plan; on a broken network file system the lock is never granted."""
METHOD = "1"
"""Counts changes of tile shapes and transforms: a stored plan of another number is not used."""

_FORMAT = 2
"""Version of plan files, a part of their names."""
_PRECISIONS = 3
"""FFTW's wisdom is of double, single and long double precision."""
_LONGEST_SIDE = 1_000_000
_planner = threading.RLock()


@functools.cache
def cpu_model() -> str:
    """Return the processor's name."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        for key, value in fields.items():
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def library_versions() -> dict[str, str]:
    """Return what decides the last bits of a score on the CPU: method, processor, NumPy and FFT library."""
    if pyfftw is None:
        import scipy

        fft = f"scipy {scipy.__version__}"
    else:
        fft = f"pyfftw {pyfftw.__version__}, {pyfftw.fftw_version}"
    return {"method": METHOD, "cpu": cpu_model(), "numpy": np.__version__, "fft": fft}


def cache_folder() -> Path:
    """Return the folder of stored plans: $GEMPICK_CACHE, else the user's cache folder."""
    return Path(os.environ.get("GEMPICK_CACHE") or user_cache_path("napari-gempick"))


def _tile(value: Any) -> list[int]:
    """Return a stored tile shape; ValueError where it cannot be one."""
    height, width = value
    if not all(type(side) is int and 1 <= side <= _LONGEST_SIDE for side in (height, width)):
        raise ValueError(f"a tile of {height} x {width} pixels")
    return [height, width]


def _checksum(tiles: Any, wisdom: Any) -> str:
    """Return the checksum of what a plan file stores."""
    return hashlib.blake2b(json.dumps([tiles, wisdom]).encode(), digest_size=8).hexdigest()


class PlanStore:
    """Stored plans of one processor and one set of library versions.

    Parameters
    ----------
    path : Path, optional
        The plan file. Default: one in the user's cache, named after processor and versions.
    """

    def __init__(self, path: Path | None = None) -> None:
        versions = library_versions()
        if path is None:
            digest = hashlib.blake2b(json.dumps([_FORMAT, versions]).encode(), digest_size=6).hexdigest()
            path = cache_folder() / f"plan-{digest}.json"
        self.path = path
        self._versions = versions
        self._wisdom: list[str] | None = None
        self._tiles: dict[str, list[int]] = {}
        self._stored = True
        self._read()

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says about the plan."""
        digest = hashlib.blake2b(json.dumps(self._wisdom).encode(), digest_size=8).hexdigest()
        return {"file": str(self.path), "stored": self._stored, "wisdom": digest, **self._versions}

    def _read(self) -> None:
        try:
            if self.path.exists() and not self.path.is_file():
                raise ValueError("it is not a regular file")
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            tiles = {str(key): _tile(value) for key, value in stored["tiles"].items()}
            wisdom = [str(text) for text in stored["wisdom"]] if stored["wisdom"] else None
            if stored["checksum"] != _checksum(stored["tiles"], wisdom):  # FFTW may abort on damaged wisdom
                raise ValueError("its checksum differs")
            encoded = tuple(text.encode("ascii") for text in wisdom or ())
            if wisdom and len(wisdom) != _PRECISIONS:
                raise ValueError(f"wisdom of {len(wisdom)} precisions, not {_PRECISIONS}")
        except (FileNotFoundError, NotADirectoryError):
            return
        except Exception as error:  # a damaged file makes JSON and these lines raise nearly anything
            reason = getattr(error, "reason", None) or error or type(error).__name__
            raise SettingsError(
                f"The plan file {self.path} cannot be read ({reason}); delete it, and the next run makes it again.",
                self.path,
            ) from error
        self._tiles.update(tiles)
        if wisdom and wisdom != self._wisdom and pyfftw is not None:
            pyfftw.import_wisdom(encoded)
            self._wisdom = wisdom

    def _write(self) -> None:
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        checksum = _checksum(self._tiles, self._wisdom)
        content = {"versions": self._versions, "tiles": self._tiles, "wisdom": self._wisdom, "checksum": checksum}
        text = json.dumps(content, indent=1)
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the plan file against other processes.

        Where it cannot be locked in `PATIENCE` seconds, or not be written, the plan is this process's only.
        """
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(f"{self.path}.lock", PATIENCE) as held:
            if held:
                self._read()
            yield
            try:
                if held:
                    self._write()
            except OSError:  # a full disk, a quota
                held = False
            self._stored = self._stored and held

    def fftw(self, make: Callable[[tuple[str, ...]], Any]) -> Any:
        """Return the FFTW plan that `make(flags)` builds, from stored wisdom where there is some.

        Planning overwrites the arrays that `make` plans on: fill them afterwards.
        """
        with _planner:
            try:
                return make(("FFTW_MEASURE", "FFTW_WISDOM_ONLY"))
            except RuntimeError:
                pass
            with self._locked():
                started = time.monotonic()
                plan = make(("FFTW_MEASURE",))
                LOG.info("FFTW has planned a transform in %.1f s", time.monotonic() - started)
                self._wisdom = [text.decode("ascii") for text in pyfftw.export_wisdom()]
            return plan

    def tile_shape(self, key: str, choose: Callable[[], tuple[int, int]]) -> tuple[int, int]:
        """Return the stored tile shape of `key`, or store what `choose` returns."""
        with _planner:
            if key not in self._tiles:
                with self._locked():
                    if key not in self._tiles:
                        self._tiles[key] = list(choose())
                        LOG.info("planned: %s is %s", key, self._tiles[key])
            height, width = self._tiles[key]
            return height, width
