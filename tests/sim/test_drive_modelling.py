"""Merged primitives: volumes in closed form, normals that agree with the faces, colours that come back from the palette."""

import math

import numpy as np
import pytest

from embodied_ssl.sim.drive.modelling import AROUND, Finish, Palette, Part, ball, bounds, box, drawn, pane, rod, tile
from embodied_ssl.sim.drive.town.ground import rounded, slabs

RED, BLUE = Finish((0.8, 0.1, 0.2)), Finish((0.1, 0.2, 0.7))
GON = AROUND / 2 * math.sin(2 * math.pi / AROUND) / 4  # area of a regular polygon of diameter 1


def volume(mesh):
    a, b, c = (mesh.points[mesh.faces[:, k]].astype(float) for k in range(3))
    return (a * np.cross(b, c)).sum() / 6


def mesh_of(*parts):
    (one,) = drawn(parts)
    return one.mesh


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (box(1.0, 2.0, 3.0, (4, 5, 6), RED), 6.0),
        (rod(2.0, 3.0, (1, 1, 1), RED), 4 * GON * 3),
        (rod(0.5, 2.0, (0, 2, 0), RED, axis=0), 0.25 * GON * 2),
        (rod(0.5, 2.0, (0, 2, 0), RED, axis=1), 0.25 * GON * 2),
        (Part("box", (2.0, 3.0, 4.0), (0, 0, 0), RED, taper=(1.0, 0.0)), 12.0),  # a gable roof is half a box
        (Part("box", (2.0, 3.0, 4.0), (0, 0, 0), RED, taper=(0.0, 0.0)), 8.0),  # a pyramid a third
        (Part("rod", (2.0, 2.0, 3.0), (0, 0, 0), RED, taper=(0.0, 0.0)), 4 * GON),
        (Part("box", (1.0, 2.0, 3.0), (1, 2, 3), RED, yaw=0.7, tip=-0.4), 6.0),
    ],
)
def test_volumes(part, expected):
    assert volume(mesh_of(part)) == pytest.approx(expected, rel=1e-5)
    assert volume(mesh_of(part, box(1, 1, 1, (9, 9, 9), BLUE))) == pytest.approx(expected + 1, rel=1e-5)


def test_a_ball_is_nearly_as_large_as_a_sphere():
    inside = volume(mesh_of(ball(2.0, (0, 0, 0), RED)))
    assert 0.7 * 4 / 3 * math.pi < inside < 4 / 3 * math.pi


@pytest.mark.parametrize(
    "part",
    [
        box(1.0, 2.0, 3.0, (4, 5, 6), RED),
        Part("box", (1.0, 2.0, 3.0), (4, 5, 6), RED, yaw=1.0, tip=0.3, taper=(0.4, 0.7)),
        Part("rod", (1.0, 1.0, 2.0), (0, 0, 0), RED, taper=(0.3, 0.3)),
        rod(1.0, 2.0, (0, 0, 0), RED, axis=0),
        Part("ball", (1.0, 2.0, 3.0), (0, 0, 0), RED, yaw=0.4),
        tile(1.0, 2.0, (0, 0, 0), RED),
        pane(1.0, 2.0, (0, 0, 0), RED, 0.3),
    ],
)
def test_normals_are_of_unit_length_and_look_out_of_the_faces(part):
    mesh = mesh_of(part)
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1, abs=1e-6)
    a, b, c = (mesh.points[mesh.faces[:, k]].astype(float) for k in range(3))
    across = np.cross(b - a, c - a)
    size = np.linalg.norm(across, axis=1)
    real = size > 1e-9  # where a roof runs to a point its top is no face
    cosine = (across[real] / size[real, None] * mesh.normals[mesh.faces[real]].mean(axis=1)).sum(axis=1)
    assert cosine.min() > (0.75 if part.kind != "box" else 0.999)


def test_a_pane_faces_the_street_and_a_tile_the_sky():
    assert mesh_of(pane(1.0, 2.0, (0, 0, 0), RED)).normals == pytest.approx(np.tile([0.0, -1.0, 0.0], (4, 1)))
    assert mesh_of(tile(1.0, 2.0, (0, 0, 0), RED)).normals == pytest.approx(np.tile([0.0, 0.0, 1.0], (4, 1)))
    low, high = bounds([pane(1.0, 2.0, (0, 0, 5), RED)])
    assert [*low, *high] == pytest.approx([-0.5, 0, 4, 0.5, 0, 6])


def test_every_colour_comes_back_from_the_palette():
    finishes = [Finish(tuple(colour)) for colour in np.random.default_rng(0).uniform(size=(50, 3))]
    palette = Palette(finishes)
    (one,) = drawn([box(1, 1, 1, (2 * k, 0, 0), finish) for k, finish in enumerate(finishes)], palette)
    height, width = palette.picture.shape[:2]
    column, row = (one.mesh.texture_at * [width, height]).astype(int).T
    seen = palette.picture[row, column].reshape(50, 24, 3)
    assert seen == pytest.approx(np.array([finish.colour for finish in finishes])[:, None].repeat(24, 1) * 255, abs=0.51)


def test_parts_with_textures_are_drawn_apart():
    picture = np.zeros((4, 4, 3), np.uint8)
    wood = Finish((1.0, 0.9, 0.8), picture, 0.7)
    parts = [box(1, 1, 1, (0, 0, 0), RED), box(1, 1, 1, (2, 0, 0), wood), box(1, 1, 1, (4, 0, 0), BLUE)]
    plain, textured = drawn(parts, number=5)
    assert volume(plain.mesh) == pytest.approx(2)
    assert plain.mesh.picture is not None
    assert textured.mesh.texture_at is None
    assert textured.texture is picture
    assert (textured.size, textured.colour, textured.id, plain.id) == (0.7, (1.0, 0.9, 0.8), 5, 5)


def test_moving_a_part_is_moving_its_points():
    part = Part("box", (1.0, 2.0, 3.0), (0.5, 0.2, 0.1), RED, yaw=0.4, tip=0.2)
    c, s = math.cos(0.7), math.sin(0.7)
    expected = mesh_of(part).points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [3, 4, 5]
    assert mesh_of(part.moved(3, 4, 0.7, 5)).points == pytest.approx(expected, abs=1e-5)


def test_slabs_are_as_large_as_their_outline():
    low, high, radius = np.array([0.0, 0.0]), np.array([10.0, 6.0]), 2.0
    mesh = slabs([rounded(low, high, radius), rounded(low + 20, high + 20, radius)], 0.0, 0.5)
    corner = 4 * math.sin(math.pi / 8) / 2 * radius**2  # four triangles of 22.5 degrees
    area = 60 - 4 * radius**2 + 4 * corner
    assert volume(mesh) == pytest.approx(2 * area * 0.5, rel=1e-5)  # there is no bottom, but at height 0 it would add nothing
