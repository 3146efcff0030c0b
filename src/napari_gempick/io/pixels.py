"""The sections of an image file, each read when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Pixels:
    """Images of equal size in a file; an index reads what it asks for, `np.asarray` reads everything.

    Parameters
    ----------
    shape : (n, ny, nx)
    dtype : dtype
        As stored: the file's own, with its byte order.
    section : callable
        Reads section number i, from 0, as (ny, nx). Raises InputError.
    """

    ndim = 3

    def __init__(
        self, shape: tuple[int, int, int], dtype: np.dtype[Any], section: Callable[[int], NDArray[Any]]
    ) -> None:
        self.shape, self.dtype, self._section = shape, dtype, section

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Number of bytes in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return a part as NumPy does; only the sections that the first index names are read."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, (int, np.integer)):
            image = self._section(int(np.arange(len(self))[first]))
            part: NDArray[Any] = image[tuple(rest)] if rest else image
            return part
        if first is None or first is Ellipsis:
            whole: NDArray[Any] = np.asarray(self)[key]
            return whole
        part = self._stack(np.arange(len(self))[first])
        return part[(slice(None), *rest)] if rest else part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        data = self._stack(np.arange(len(self)))
        return data if dtype is None else data.astype(dtype, copy=False)

    def _stack(self, numbers: NDArray[np.intp]) -> NDArray[Any]:
        data = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for place, number in enumerate(numbers):
            data[place] = self._section(int(number))
        return data
