"""Shapes and vessel trees of CT phantoms: distances are distances, the same place is the same on any plane, trees thin out and are lit."""

import numpy as np
import pytest

from chestseg.phantoms.ct.scene import draw_scene
from chestseg.phantoms.ct.section import lung_at
from chestseg.phantoms.ct.shapes import FAR, Plane, cover, draw_clouds, ellipsoid, superellipse, tube, tubes_at, tubes_on, union
from chestseg.phantoms.ct.vessels import trace


def plane(size: int = 40, pixel: float = 2.0, z: float = 0.0) -> Plane:
    at = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    return Plane(at[None], at[:, None], z, pixel, pixel)


@pytest.mark.parametrize("power", [2.0, 2.5])
def test_distance_from_a_circle(power: float):
    one = plane()
    distance = superellipse(one.x, one.y, (20, 20), power)
    assert distance[20, -1] == pytest.approx(one.x[0, -1] - 20, abs=0.1)
    assert (distance < 0).sum() * 4 == pytest.approx(np.pi * 400 if power == 2 else 1370, rel=0.05)


def test_distance_from_an_ellipsoid_is_exact_at_its_surface():
    points = np.array([[10, 0, 0], [0, 20, 0], [0, 0, 30], [11, 0, 0]], np.float32).T
    assert ellipsoid(*points, (0, 0, 0), (10, 20, 30)) == pytest.approx([0, 0, 0, 1], abs=0.01)


def test_tubes_are_alike_on_a_plane_and_at_points():
    one = plane(z=3.0)
    tubes = (tube([(-20, 0, -10), (20, 10, 10)], [4, 8]), tube([(0, 0, -5), (0, 0, 20), (10, 0, 25)], 3))
    near = tubes_on(one, tubes, reach=200)
    x, y = np.broadcast_arrays(one.x, one.y)
    assert np.allclose(near.ravel(), tubes_at(x.ravel(), y.ravel(), np.full(x.size, 3, np.float32), tubes), atol=1e-3)
    short = tubes_on(one, tubes, reach=4)
    assert np.allclose(short[near < 3], near[near < 3])
    assert (short[near > 40] == FAR).all()


def test_a_union_fills_the_notch_and_nothing_far_from_it():
    first, second = np.array([1, 5, -3, 40], np.float32), np.array([1, 30, 20, 41], np.float32)
    assert union(first, second, 8).tolist() == pytest.approx([-1, 5, -3, 38.47], abs=0.01)


def test_cover_is_the_share_inside():
    assert cover(np.array([-9, -1, 0, 0.5, 1, 9], np.float32), 2.0).tolist() == [1, 1, 0.5, 0.25, 0, 0]


def test_clouds_are_the_same_on_another_plane():
    cloud = draw_clouds(np.random.default_rng(0), 12.0)
    coarse, fine = cloud.over(plane(40, 4.0, 7.0)), cloud.over(plane(160, 1.0, 7.0))
    averaged = fine.reshape(40, 4, 40, 4).mean((1, 3))
    assert np.abs(averaged - coarse).mean() < 0.1
    assert abs(coarse.mean()) < 0.3
    assert 0.5 < coarse.std() < 1.5
    assert np.abs(cloud.over(plane(z=7.3)) - cloud.over(plane(z=7.0))).mean() < 0.1


def test_vessels_fill_the_lungs_and_thin_out():
    scene = draw_scene(0, False)
    ends = scene.vessels.end
    assert np.mean(lung_at(scene.chest, scene.organs, ends) < 0) > 0.9
    assert (np.diff(scene.vessels.radius) >= 0).all()
    assert scene.vessels.radius[0] < 0.6
    assert 3 < scene.vessels.radius[-1] < 12
    wide = scene.vessels.radius > 2.5
    fork = [0, 10, scene.chest.carina - 40]
    assert np.linalg.norm(ends[wide] - fork, axis=1).mean() < np.linalg.norm(ends[~wide] - fork, axis=1).mean()


def test_a_thin_vessel_is_fainter_and_takes_its_share():
    scene = draw_scene(0, False)
    shares = [trace(scene.vessels, plane(size, 240 / size, scene.chest.carina - 20)).mean() for size in (60, 240)]
    assert shares[0] == pytest.approx(shares[1], rel=0.5)
    assert 0.005 < shares[1] < 0.2
