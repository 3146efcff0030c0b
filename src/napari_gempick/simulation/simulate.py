"""Micrographs with known particles, the templates and the masks that go with them: arrays from settings and a seed.

The image of a weak phase object, relative to the mean of an empty, untilted field (Rohou & Grigorieff 2015, J Struct
Biol 192, 216, for the contrast transfer function):

    I = T (1 + 2 F^-1[CTF E F(sigma V)] + structural noise) + sqrt(T) camera noise

with V the projected potential, sigma the interaction constant, E the envelope and T the transmission of ice, carbon
and contaminants. Particles are dark, and have fringes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from napari_gempick.engine.preprocess.fourier_filters import CtfTransfer, frequencies, wavelength
from napari_gempick.model.ctf import Ctf
from napari_gempick.simulation.scene import (
    Canvas,
    Particle,
    add_carbon,
    add_contaminants,
    klh,
    mask_size,
    orientation,
    place_particles,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.simulation.settings import SimulateSettings

FREE_PATH = 3000.0
"""Å; the ice thickness that lets 1/e of the electrons through, the order of magnitude for vitreous ice."""

_SPINS = 12  # side views differ by the spin about the axis, with a period of 72 degrees
_GREY_LEVELS = 20.0  # per standard deviation


@dataclass(frozen=True, eq=False)
class SimulatedMicrograph:
    """A micrograph and what is known about it.

    Attributes
    ----------
    image : (y, x) float32
        Intensity relative to the mean of an empty field; particles are dark.
    particles : list of Particle
        The truth.
    signal : (y, x) float32
        The contrast of the particles (and fragments) alone, without noise.
    noise : (y, x) float32
        Structural and camera noise, as they are where T = 1.
    defocus : float
        µm.
    carbon : bool
        The edge of a carbon film is in view.
    film : (y, x) float32
        The film's share of its full thickness, 0..1.
    """

    image: NDArray[np.float32]
    particles: list[Particle]
    signal: NDArray[np.float32]
    noise: NDArray[np.float32]
    defocus: float
    carbon: bool
    film: NDArray[np.float32]


def interaction(voltage: float) -> float:
    """Return the phase in rad for each V Å of projected potential: (2 pi / lambda V) (mc² + eV) / (2 mc² + eV)."""
    rest, energy = 510.99895e3, 1e3 * voltage
    return 2 * math.pi / (wavelength(voltage) * energy) * (rest + energy) / (2 * rest + energy)


def _lens(shape: tuple[int, int], spacing: float, defocus: float, settings: SimulateSettings) -> NDArray[np.float32]:
    """Return CTF times envelope on the half-spectrum of an image of `shape`; defocus in µm."""
    ctf = Ctf(
        1e4 * defocus,
        1e4 * defocus,
        voltage=settings.voltage,
        cs=settings.cs,
        amplitude_contrast=settings.amplitude_contrast,
    )
    return CtfTransfer(ctf)(shape, spacing) * np.exp(-0.25 * settings.b_factor * np.square(frequencies(shape, spacing)))


def _through(image: NDArray[np.float32], lens: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(scipy.fft.irfft2(scipy.fft.rfft2(image) * lens, s=image.shape), np.float32)


def template(view: str, settings: SimulateSettings) -> NDArray[np.float32]:
    """Return the noise-free image of a view at psi 0 and the mean defocus, dark like the particles.

    The side view is the mean over the spin about the particle's axis, as a class average is; its axis lies along x.

    Returns
    -------
    (n, n) float32
        n = settings.box(settings.template_spacing); the centre is pixel n // 2. Unit: the micrographs'.
    """
    spacing = settings.template_spacing
    n = settings.box(spacing)
    spins = np.arange(_SPINS) * 72 / _SPINS if view == "side" else [0.0]
    tilt = 90.0 if view == "side" else 0.0
    wide = scipy.fft.next_fast_len(2 * n, real=True)
    potential = np.mean([klh().projection(orientation(s, tilt, 0), (wide, wide), spacing) for s in spins], axis=0)
    lens = _lens((wide, wide), spacing, settings.defocus, settings)
    start = wide // 2 - n // 2
    contrast = 2 * interaction(settings.voltage) * _through(potential, lens)
    return np.ascontiguousarray(contrast[start : start + n, start : start + n], dtype=np.float32)


def mask(view: str, settings: SimulateSettings) -> NDArray[np.float32]:
    """Return the binary mask of a view at psi 0, (n, n) float32 on the template's grid: a rectangle or a circle."""
    spacing = settings.template_spacing
    n = settings.box(spacing)
    grid = (np.arange(n) - n // 2) * spacing
    along, across = mask_size(view)
    if view == "side":
        inside = (np.abs(grid)[:, None] <= across / 2) & (np.abs(grid)[None, :] <= along / 2)
    else:
        inside = np.hypot(grid[:, None], grid[None, :]) <= along / 2
    return np.asarray(inside, np.float32)


def noise_deviation(settings: SimulateSettings) -> float:
    """Return the standard deviation of the noise that gives the settings' signal-to-noise ratio."""
    same_pixels = settings.model_copy(update={"template_pixel_size": None})
    reference = template("side", same_pixels)[mask("side", same_pixels) > 0]
    return float(np.sqrt(reference.var(dtype=np.float64) / settings.snr))


def simulate_micrograph(settings: SimulateSettings, index: int) -> SimulatedMicrograph:
    """Simulate micrograph `index` (from 0); it depends on the settings, the seed and the index alone.

    Raises
    ------
    SettingsError
        There is no room for all particles.
    """
    seed = np.random.SeedSequence(settings.seed, spawn_key=(index,))
    places, dirt, film, ice, camera, optics = np.random.default_rng(seed).spawn(6)
    defocus = settings.defocus + settings.defocus_spread * float(optics.uniform(-1, 1))
    canvas = Canvas.empty(settings)
    covered = np.zeros_like(canvas.absorption)
    if settings.has_carbon(index):
        covered = add_carbon(canvas, settings, film)
    particles = place_particles(canvas, settings, places)
    add_contaminants(canvas, settings, dirt)

    height, width = settings.shape
    inside = (slice(canvas.margin, canvas.margin + height), slice(canvas.margin, canvas.margin + width))
    lens = _lens(canvas.phase.shape, settings.pixel_size, defocus, settings)
    gain = 2 * interaction(settings.voltage)
    signal = gain * _through(canvas.protein, lens)[inside]
    scenery = gain * _through(canvas.phase, lens)[inside]

    deviation = noise_deviation(settings)
    structural = _through(ice.standard_normal(canvas.phase.shape, dtype=np.float32), lens)
    structural *= deviation * math.sqrt(settings.structural_noise) / float(structural.std())
    shot = camera.standard_normal((height, width), dtype=np.float32)
    shot *= deviation * math.sqrt(1 - settings.structural_noise)

    transmission = np.exp(-canvas.absorption[inside] - _ice_depth(settings, ice))
    image = transmission * (1 + signal + scenery + structural[inside]) + np.sqrt(transmission) * shot
    if settings.hot_pixels:
        hot = camera.integers(height * width, size=settings.hot_pixels)
        image.flat[hot] += camera.uniform(20, 100, settings.hot_pixels)
    noise, carbon = structural[inside] + shot, settings.has_carbon(index)
    return SimulatedMicrograph(image.astype(np.float32), particles, signal, noise, defocus, carbon, covered[inside])


def _ice_depth(settings: SimulateSettings, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the optical depth (y, x) of an ice wedge in a random direction, 0 in the middle."""
    angle = rng.uniform(0, 2 * math.pi)
    ux, uy = math.cos(angle), math.sin(angle)
    height, width = settings.shape
    y, x = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    ramp = (uy * y[:, None] + ux * x[None, :]) / (abs(uy) * height + abs(ux) * width)
    return np.asarray(ramp * settings.ice_gradient / FREE_PATH, np.float32)


def grey_levels(image: NDArray[np.float32]) -> tuple[NDArray[np.int8], float, float]:
    """Return the image as int8, and the mean and the step with which image = mean + step * grey level.

    Median and quartiles set the scale, so that a few outliers do not; values beyond -127..127 are clipped.
    """
    low, middle, high = (float(q) for q in np.percentile(image, [25, 50, 75]))
    step = max((high - low) / 1.349, 1e-12) / _GREY_LEVELS
    return np.clip(np.rint((image - middle) / step), -127, 127).astype(np.int8), middle, step
