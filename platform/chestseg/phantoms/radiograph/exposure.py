"""From attenuation to grey values: detector blur and noise, the display curve, and what is burned into the picture."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from chestseg.phantoms.radiograph.anatomy import View
from chestseg.phantoms.radiograph.shapes import Layer, blur

INK = 250
"""Grey value of a marker."""


@dataclass(frozen=True)
class Marker:
    """Text burned into the picture; place of its lower left corner, and height, as shares of the picture's edge."""

    text: str
    x: float
    y: float
    height: float


@dataclass(frozen=True)
class Exposure:
    """How the detector and its software show an attenuation map."""

    blur: float
    """Standard deviation of the detector's blur, as a share of the picture's edge."""
    noise: float
    """Standard deviation of quantum noise at 1024 pixels where attenuation is 0.5."""
    black: float
    white: float
    """Attenuation shown as the darkest and as the brightest grey."""
    gamma: float
    shoulder: float
    """How strongly the curve flattens towards white."""
    floor: float
    ceiling: float
    """Darkest and brightest grey value."""
    tilt: tuple[float, float]
    """Change of attenuation from one edge to the other, across and down: an uneven field."""
    margins: tuple[float, ...]
    """Collimated, black margins: left, top, right, bottom, as shares of the picture's edge."""
    marker: Marker | None


def draw_exposure(rng: np.random.Generator, view: View) -> Exposure:
    """Draw one; portable AP pictures are noisier and less sharp."""
    portable = view == "AP"
    return Exposure(
        blur=rng.uniform(0.0004, 0.0009) * (1.3 if portable else 1.0),
        noise=rng.uniform(0.008, 0.016) * (1.4 if portable else 1.0),
        black=rng.uniform(-0.04, 0.14),
        white=rng.uniform(1.08, 1.35),
        gamma=rng.uniform(0.8, 1.25),
        shoulder=rng.uniform(0.0, 0.8),
        floor=rng.uniform(0, 14),
        ceiling=rng.uniform(190, 245),
        tilt=(rng.normal(0, 0.03), rng.normal(0, 0.04)),
        margins=tuple((rng.uniform(0.005, 0.04, 4) * (rng.random(4) < 0.25)).tolist()),
        marker=_draw_marker(rng, portable),
    )


def _draw_marker(rng: np.random.Generator, portable: bool) -> Marker | None:
    text = str(rng.choice(["L", "R", "PORTABLE"], p=[0.5, 0.2, 0.3] if portable else [0.75, 0.25, 0.0]))
    x = rng.uniform(0.87, 0.94) if text == "L" else rng.uniform(0.04, 0.08)
    marker = Marker(text, x, rng.uniform(0.05, 0.14), 0.018 if text == "PORTABLE" else 0.035)
    return marker if rng.random() < 0.85 else None


def expose(attenuation: Layer, exposure: Exposure, noise_seed: int) -> NDArray[np.uint8]:
    """Grey values uint8 (size, size), bright = dense, of an attenuation map."""
    size = attenuation.shape[0]
    image = blur(attenuation, exposure.blur * size)
    noise = np.random.default_rng([noise_seed, size]).standard_normal(image.shape, np.float32)
    # A pixel twice as wide collects four times the quanta; denser tissue lets fewer through.
    noise *= exposure.noise * (size / 1024) * (0.5 + image)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    image = image + noise + exposure.tilt[0] * ramp + exposure.tilt[1] * ramp[:, None]
    image = np.clip((image - exposure.black) / (exposure.white - exposure.black), 0, 1)
    image = np.asarray(cv2.pow(image, exposure.gamma), image.dtype)
    image *= (1 + exposure.shoulder) / (1 + exposure.shoulder * image)
    grey = np.round(exposure.floor + (exposure.ceiling - exposure.floor) * image).astype(np.uint8)
    _burn_in(grey, exposure)
    return grey


def _burn_in(grey: NDArray[np.uint8], exposure: Exposure) -> None:
    size = grey.shape[0]
    left, top, right, bottom = (round(margin * size) for margin in exposure.margins)
    grey[:top] = grey[size - bottom :] = 0
    grey[:, :left] = grey[:, size - right :] = 0
    if exposure.marker is not None:
        marker = exposure.marker
        place = round(marker.x * size), round(marker.y * size)
        # OpenCV's plain font is about 22 pixels high at scale 1.
        cv2.putText(grey, marker.text, place, cv2.FONT_HERSHEY_SIMPLEX, marker.height * size / 22, INK, max(1, size // 300), cv2.LINE_AA)
