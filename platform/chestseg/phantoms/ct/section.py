"""A CT phantom's chest cut at a plane, and where its lungs are."""

from dataclasses import dataclass

import numpy as np

from chestseg.phantoms.ct.chest import WALL, Chest, diaphragm, rib_cage, skin
from chestseg.phantoms.ct.organs import Organs, heart_distance, mediastinum
from chestseg.phantoms.ct.shapes import Clouds, Field, Plane, cover, tubes_at, tubes_on


def lung_at(chest: Chest, organs: Organs, points: Field) -> Field:
    """Distance (n,) of points (n, 3) from the surface of the lungs, negative inside."""
    x, y, z = np.ascontiguousarray(points.T, np.float32)
    tubes = tubes_at(x, y, z, (*organs.vessels, *organs.gullet, *organs.airways))
    between = mediastinum(chest, x, y, z, tubes, heart_distance(organs, x, y, z))
    return np.maximum.reduce([rib_cage(chest, x, y, z) + WALL, -between, 0.75 * (diaphragm(chest, x, y) - z)])


@dataclass(frozen=True)
class Section:
    """Distances over one plane that organs, bones, lungs and disease are drawn from."""

    plane: Plane
    cage: Field
    skin: Field
    heart: Field
    airways: Field
    above: Field
    """Height above the diaphragm."""
    lungs: Field
    """Share of each voxel that is lung, 0 to 1."""
    texture: tuple[Field, ...]
    """Values of the phantom's clouds, coarse ones first."""

    @property
    def depth(self) -> Field:
        """Distance inwards from ribs and diaphragm, not from the mediastinum: where the subpleural lung is."""
        return np.minimum(-self.cage - WALL, 0.8 * self.above)


def cut(chest: Chest, organs: Organs, clouds: tuple[Clouds, ...], plane: Plane) -> Section:
    """Cut the chest at a plane."""
    x, y, z = plane.x, plane.y, plane.z
    airways = tubes_on(plane, organs.airways)
    tubes = np.minimum(tubes_on(plane, (*organs.vessels, *organs.gullet), 20), airways)
    heart = heart_distance(organs, x, y, z)
    cage = rib_cage(chest, x, y, z)
    between = mediastinum(chest, x, y, z, tubes, heart)
    above = np.float32(z) - diaphragm(chest, x, y)
    lungs = cover(np.maximum(cage + WALL, -between), plane.pixel) * cover(-0.75 * above, max(plane.pixel, plane.thickness))
    if z > chest.length:
        lungs = np.zeros_like(lungs)
    texture = tuple(cloud.over(plane) for cloud in clouds)
    return Section(plane, cage, skin(chest, x, y, z), heart, airways, above, lungs, texture)
