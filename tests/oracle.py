"""Brute-force float64 reference of the definitions, written from the formulas alone."""

import numpy as np

_AT_ONCE = 2**22
"""Pixels of windows in memory at once: more would cost more time than the arithmetic."""


def ncc(image, template, mask, centre=None):
    """Score of one template at every position; NaN where part of the mask's support lies outside the image."""
    image, template, mask = (np.asarray(a, np.float64) for a in (image, template, mask))
    cy, cx = centre or (template.shape[0] // 2, template.shape[1] // 2)
    support = np.argwhere(mask > 0)
    weights = mask[mask > 0]
    total = weights.sum()
    values = template[mask > 0]
    mean = (values * weights).sum() / total
    t0 = (values - mean) * weights
    s_t = np.sqrt(((values - mean) ** 2 * weights).sum() / total)
    offsets = support - [cy, cx]
    ny, nx = image.shape
    out = np.full(image.shape, np.nan)
    y0, y1 = max(0, -offsets[:, 0].min()), ny - max(0, offsets[:, 0].max())
    x0, x1 = max(0, -offsets[:, 1].min()), nx - max(0, offsets[:, 1].max())
    if y1 <= y0 or x1 <= x0:
        return out
    step = max(1, _AT_ONCE // (len(offsets) * (x1 - x0)))
    for top in range(y0, y1, step):
        bottom = min(top + step, y1)
        windows = np.stack([image[top + dy : bottom + dy, x0 + dx : x1 + dx] for dy, dx in offsets])
        centred = windows - windows.mean(axis=0)
        local = np.tensordot(weights, centred, 1) / total
        variance = np.maximum(np.tensordot(weights, centred**2, 1) / total - local**2, 0)
        spread = np.ptp(windows, axis=0)
        sigma = np.sqrt(variance)
        flat = (spread == 0) | (sigma <= 1e-4 * image.std())
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.tensordot(t0, centred, 1) / (total * s_t * sigma)
        out[top:bottom, x0:x1] = np.where(flat, 0, score)
    return out


def search(image, templates, masks, centres=None):
    """Score map, index map and all scores (k, y, x) of a list of templates and masks; unscored: -1, -1."""
    centres = centres or [None] * len(templates)
    scores = np.stack([ncc(image, t, m, c) for t, m, c in zip(templates, masks, centres, strict=True)])
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best, index = filled.max(axis=0), filled.argmax(axis=0)
    unscored = np.isneginf(best)
    return np.where(unscored, -1, best), np.where(unscored, -1, index), scores
