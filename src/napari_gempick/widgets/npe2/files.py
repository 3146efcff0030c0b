"""Readers and writers of the manifest: images and coordinate files to layers, Points layers to coordinate files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.coordinates import CoordinateSet, read_coordinates
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.base import stem_of
from napari_gempick.io.formats.coordinate_set import NO_VIEW
from napari_gempick.io.images.micrograph import header_pixel_size, open_image
from napari_gempick.io.images.row_order import from_bottom
from napari_gempick.model.errors import GempickError, InputError
from napari_gempick.model.picks import Picks
from napari_gempick.widgets.state.look import VIEW_COLOURS, contrast_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


if TYPE_CHECKING:
    from collections.abc import Callable

    Layers = list[tuple[Any, dict[str, Any], str]]

MOST_LAYERS = 20
"""Micrographs of one coordinate file that are shown without being asked for by an open micrograph."""
READ_AT_ONCE = 2**31
"""Bytes of a stack or map that is read whole; of larger ones napari reads the sections that it shows."""
_DEFAULT_SIZE = 50.0


def image_reader(path: str | list[str]) -> Callable[[str | list[str]], Layers] | None:
    """Return the reader of micrographs and stacks (npe2); None for several paths that are to make one layer."""
    return None if isinstance(path, list) else _read_image


def coordinates_reader(path: str | list[str]) -> Callable[[str | list[str]], Layers] | None:
    """Return the reader of coordinate files (npe2); None for tables that hold no coordinates."""
    if isinstance(path, list):
        return None
    if path.lower().endswith((".csv", ".tsv")):
        try:
            found = read_coordinates(path)
        except GempickError:
            return None
        if "axis-0" in found.columns:  # napari's own Points layer
            return None
    return _read_points


def _read_image(path: str | list[str]) -> Layers:
    image = open_image(Path(str(path)))
    data: Any = image.data
    if len(data) == 1:
        data = data[0]
    elif data.nbytes <= READ_AT_ONCE:
        data = np.asarray(data)
    try:
        pixel_size = header_pixel_size(image)
    except InputError:
        pixel_size = None  # a header with a nonsense size is still worth looking at
    metadata = {"gempick": {"pixel_size": pixel_size, "path": str(path)}}
    return [
        (
            data,
            {"name": stem_of(image.path.name), "contrast_limits": contrast_limits(_some(data)), "metadata": metadata},
            "image",
        )
    ]


def _some(data: Any) -> Any:
    """Return a few sections of a large stack, enough to choose the contrast."""
    return data[:: max(1, len(data) // 16)] if data.ndim == 3 else data


def _read_points(path: str | list[str]) -> Layers:
    found = read_coordinates(str(path))
    sets = found.by_micrograph()
    open_layers = _open_micrographs()
    matching = {name: part for name, part in sets.items() if stem_of(Path(name).name) in open_layers}
    chosen = matching or sets
    if len(chosen) > MOST_LAYERS:
        raise InputError(
            f"{path} holds picks of {len(sets)} micrographs; open one of those micrographs first, then this file.", path
        )
    layers = []
    for micrograph, part in chosen.items():
        name = stem_of(Path(micrograph or str(path)).name)
        layer = open_layers.get(name)
        named = micrograph if layer is None else layer.metadata["gempick"]["path"]
        if layer is None and not part.settled and from_bottom(part.program, named):
            raise InputError(
                f"{path}: y counts from the last row of {Path(named).name}, as it is a TIFF file; open that micrograph "
                "first.",
                path,
            )
        part = part.on(named, None if layer is None else layer.data.shape, str(path))
        layers.append(points_layer(part, name=name, micrograph=layer))
    return layers


def points_layer(part: CoordinateSet, *, name: str, micrograph: Any = None) -> tuple[Any, dict[str, Any], str]:
    """Return the Points layer of one micrograph's picks: positions in pixels (y, x), coloured by view.

    Parameters
    ----------
    name : str
        The micrograph's.
    micrograph : napari Image layer, optional
        What the picks lie on.
    """
    known = {} if micrograph is None else micrograph.metadata["gempick"]
    picks, box = part.picks, part.common("box_size")
    views = np.array(part.view_names, dtype=object)[picks.view] if len(picks) else np.array([], dtype=object)
    features = {"view": views.astype(str), "score": picks.score, "psi": picks.psi, "template": picks.section + 1}
    colours = np.array(VIEW_COLOURS)[picks.view % len(VIEW_COLOURS)] if len(picks) else VIEW_COLOURS[0]
    options: dict[str, Any] = {
        "name": f"{name} picks",
        "features": features,
        "size": float(box) if box else _DEFAULT_SIZE,
        "face_color": "transparent",
        "border_color": colours,
        "border_width": 0.05,
        "metadata": {
            "gempick": {
                "view_names": part.view_names if part.view_names != (NO_VIEW,) else (),
                "box_size": box,
                "pixel_size": part.common("pixel_size"),
                "micrograph": known.get("path") or (part.micrographs[0] if part.micrographs else ""),
                "shape": None if micrograph is None else micrograph.data.shape,
            }
        },
    }
    if micrograph is not None:
        options["scale"], options["units"] = micrograph.scale, micrograph.units
    return np.stack([picks.y, picks.x], axis=1), options, "points"


def _open_micrographs() -> dict[str, Any]:
    """Return the layers of the 2D images in the viewer by the stem of their file, so that picks lie on them."""
    import napari

    viewer = napari.current_viewer()
    found = {}
    for layer in viewer.layers if viewer is not None else []:
        known = layer.metadata.get("gempick", {})
        if known.get("path") and layer.ndim == 2 and layer.visible:
            found[stem_of(Path(known["path"]).name)] = layer
    return found


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
