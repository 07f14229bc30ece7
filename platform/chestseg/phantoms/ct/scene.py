"""Everything that is drawn for one CT phantom before a voxel is made: anatomy, disease, look-alikes and scanner."""

from dataclasses import dataclass

import numpy as np

from chestseg.phantoms.ct.bones import Skeleton, draw_skeleton
from chestseg.phantoms.ct.chest import Chest, draw_chest
from chestseg.phantoms.ct.decoys import Decoys, draw_decoys
from chestseg.phantoms.ct.infiltrates import Infiltrate, draw_infiltrates
from chestseg.phantoms.ct.noise import Scanner, draw_scanner
from chestseg.phantoms.ct.organs import Organs, lay_out_organs
from chestseg.phantoms.ct.shapes import Clouds, draw_clouds
from chestseg.phantoms.ct.vessels import Branches, draw_vessels
from chestseg.seed import seed_for

PITCHES = (26.0, 11.0, 5.0)
"""Sizes in mm of the structures in the clouds that make tissues uneven and borders ragged, coarse ones first."""


@dataclass(frozen=True)
class Scene:
    """One phantom in the chest's coordinates, free of any grid."""

    chest: Chest
    organs: Organs
    skeleton: Skeleton
    vessels: Branches
    bronchi: Branches
    infiltrates: tuple[Infiltrate, ...]
    decoys: Decoys
    clouds: tuple[Clouds, ...]
    scanner: Scanner
    shift: tuple[float, float]
    """Millimetres the body lies off the middle, down and across."""


def draw_build(seed: int) -> Chest:
    """The chest of a phantom alone."""
    return draw_chest(np.random.default_rng(seed_for("ct body", seed)))


def draw_scene(seed: int, positive: bool) -> Scene:
    """Draw a phantom; the one without infiltrates has the same chest."""
    body = np.random.default_rng(seed_for("ct body", seed))
    findings = np.random.default_rng(seed_for("ct findings", seed))
    chest = draw_chest(body)
    organs = lay_out_organs(body, chest)
    vessels, bronchi = draw_vessels(body, chest, organs)
    return Scene(
        chest=chest,
        organs=organs,
        skeleton=draw_skeleton(body, chest),
        vessels=vessels,
        bronchi=bronchi,
        infiltrates=draw_infiltrates(findings, chest, organs) if positive else (),
        decoys=draw_decoys(np.random.default_rng(seed_for("ct decoys", seed)), chest, organs, positive),
        clouds=tuple(draw_clouds(body, pitch) for pitch in PITCHES),
        scanner=draw_scanner(body, seed_for("ct scanner", seed)),
        shift=(float(body.normal(0, 4)), float(body.normal(0, 4))),
    )
