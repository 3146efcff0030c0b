"""Writers of the manifest: Points layers to the coordinate files of other programs; hidden points are never written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.coordinate_set import NO_VIEW
from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def picks_of_layer(data: Any, meta: dict[str, Any]) -> tuple[Picks, PicksInfo]:
    """Return the shown points of a Points layer's data and metadata, best score first where there are scores."""
    points = np.asarray(data, np.float64)[:, -2:]
    n = len(points)
    shown = np.broadcast_to(np.asarray(meta.get("shown", True), bool), (n,))
    features = meta.get("features")
    known = meta.get("metadata", {}).get("gempick", {})

    def column(name: str, otherwise: float) -> NDArray[np.float64]:
        if features is None or name not in features:
            return np.full(n, otherwise)
        return np.asarray(features[name], np.float64)

    texts = [str(v) for v in features["view"]] if features is not None and "view" in features else [NO_VIEW] * n
    names = tuple(known.get("view_names") or dict.fromkeys(texts)) or (NO_VIEW,)
    names = (*names, *dict.fromkeys(text for text in texts if text not in names))
    picks = Picks(
        x=points[:, 1],
        y=points[:, 0],
        map_x=np.rint(points[:, 1]).astype(np.int32),
        map_y=np.rint(points[:, 0]).astype(np.int32),
        score=column("score", np.nan).astype(np.float32),
        k=np.full(n, -1, np.int32),
        view=np.array([names.index(text) for text in texts], np.int32),
        section=(np.nan_to_num(column("template", 0)) - 1).astype(np.int32),
        psi=column("psi", np.nan),
    )
    order = np.flatnonzero(shown)
    scores = np.nan_to_num(picks.score[order], nan=-np.inf)
    box = known.get("box_size") or (int(np.ceil(np.max(meta["size"]))) if n and "size" in meta else None)
    info = PicksInfo(
        pixel_size=known.get("pixel_size"),
        box_size=None if box is None else int(box),
        view_names=names,
        micrograph=known.get("micrograph", ""),
        shape=known.get("shape"),
    )
    return picks.take(order[np.argsort(-scores, kind="stable")]), info


def _writer(name: str) -> Callable[[str, Any, dict[str, Any]], list[str]]:
    def write(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
        FORMATS[name].write(path, *picks_of_layer(data, meta))
        return [path]

    write.__doc__ = f"Write a Points layer: {FORMATS[name].help}"
    return write


write_star = _writer("star")
write_box = _writer("box")
write_cbox = _writer("cbox")
write_eman2 = _writer("eman2")
write_cryosparc = _writer("cs")
write_xmipp = _writer("xmipp")
write_tsv = _writer("tsv")
