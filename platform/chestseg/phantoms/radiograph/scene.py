"""Everything that is drawn for one phantom before a pixel is made: anatomy, disease, look-alikes, pose and exposure."""

from dataclasses import dataclass

import numpy as np

from chestseg.phantoms.radiograph.anatomy import SIDES, Thorax, View, draw_patient, draw_thorax
from chestseg.phantoms.radiograph.bones import Skeleton, draw_skeleton
from chestseg.phantoms.radiograph.decoys import Decoys, draw_decoys
from chestseg.phantoms.radiograph.exposure import Exposure, draw_exposure
from chestseg.phantoms.radiograph.pleura import Pneumothorax, draw_pneumothoraces
from chestseg.phantoms.radiograph.shapes import Pose, Stroke
from chestseg.phantoms.radiograph.vessels import draw_vessels
from chestseg.seed import seed_for

PORTABLE = 0.4
"""Share of AP pictures."""


@dataclass(frozen=True)
class Dome:
    """Tissue (or, with a negative strength, gas) of elliptic outline, thickest in its middle."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    strength: float


@dataclass(frozen=True)
class Scene:
    """One phantom in chest coordinates, free of any picture size."""

    thorax: Thorax
    skeleton: Skeleton
    vessels: tuple[Stroke, ...]
    """Of both lungs, thin ones first: a wide one lies over them."""
    pneumothoraces: tuple[Pneumothorax, ...]
    decoys: Decoys
    breasts: tuple[Dome, ...]
    gas: tuple[Dome, ...]
    """In the stomach, under the left dome of the diaphragm."""
    pose: Pose
    exposure: Exposure
    noise_seed: int


def draw_scene(seed: int, positive: bool, patient_seed: int | None = None) -> Scene:
    """Draw a phantom; pictures with the same `patient_seed` (by default, `seed`) show the same patient's build, ribs and vessels."""
    body = np.random.default_rng(seed_for("patient", seed if patient_seed is None else patient_seed))
    picture = np.random.default_rng(seed_for("picture", seed))
    patient = draw_patient(body)
    view: View = "AP" if picture.random() < PORTABLE else "PA"
    thorax = draw_thorax(picture, patient, view)
    vessels = [stroke for lung in thorax.lungs for stroke in draw_vessels(body, lung)]
    return Scene(
        thorax=thorax,
        skeleton=draw_skeleton(body, picture, thorax),
        vessels=tuple(sorted(vessels, key=lambda stroke: stroke.width)),
        pneumothoraces=draw_pneumothoraces(picture, thorax) if positive else (),
        decoys=draw_decoys(picture, thorax, positive),
        breasts=_breasts(picture, thorax),
        gas=_gas(picture, thorax),
        pose=Pose(picture.normal(0, 1.8), picture.uniform(0.94, 1.14), (picture.normal(0, 0.012), picture.normal(0, 0.015))),
        exposure=draw_exposure(picture, view),
        noise_seed=seed_for("noise", seed),
    )


def _breasts(rng: np.random.Generator, thorax: Thorax) -> tuple[Dome, ...]:
    size = thorax.patient.breast
    if not size:
        return ()
    height = thorax.base - 0.10 + rng.uniform(0.0, 0.06)
    return tuple(Dome((side * 0.215, height), (0.13 + 0.05 * size, 0.11 + 0.05 * size), 0.15 * size) for side in SIDES)


def _gas(rng: np.random.Generator, thorax: Thorax) -> tuple[Dome, ...]:
    centre = rng.uniform(0.12, 0.22), thorax.base - rng.uniform(0.02, 0.05)
    bubble = Dome(centre, (rng.uniform(0.04, 0.08), rng.uniform(0.02, 0.045)), -rng.uniform(0.15, 0.4))
    return (bubble,) if rng.random() < 0.5 else ()
