"""Solids against closed forms: volume by the divergence theorem, closedness edge by edge, normals, measures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embodied_ssl.sim import solids
from embodied_ssl.sim.mesh import Mesh

# The volume of a polyhedron whose corners lie on the true surface is a little less than the solid's.
SOLIDS = {
    "box": (solids.box((0.1, 0.2, 0.3)), 0.1 * 0.2 * 0.3, 1e-6, (0.1, 0.2, 0.3)),
    "cylinder": (solids.cylinder(0.1, 0.3), math.pi * 0.1**2 * 0.3, 0.01, (0.2, 0.2, 0.3)),
    "sphere": (solids.sphere(0.1), 4 / 3 * math.pi * 0.1**3, 0.04, (0.2, 0.2, 0.2)),
    "capsule": (solids.capsule(0.1, 0.5), math.pi * 0.1**2 * 0.3 + 4 / 3 * math.pi * 0.1**3, 0.04, (0.2, 0.2, 0.5)),
}


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.points[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("name", SOLIDS)
def test_volume_and_extent(name: str) -> None:
    mesh, true, short, size = SOLIDS[name]
    assert true * (1 - short) <= volume(mesh) <= true * (1 + 1e-6)  # positive: counter-clockwise from outside
    assert np.allclose(np.ptp(mesh.points, axis=0), size, rtol=0.02)
    assert np.allclose(mesh.points.min(axis=0), -mesh.points.max(axis=0), atol=0.002)


@pytest.mark.parametrize("name", SOLIDS)
def test_every_edge_has_two_faces(name: str) -> None:
    mesh = SOLIDS[name][0]
    _, same = np.unique(mesh.points.round(6), axis=0, return_inverse=True)
    faces = same.reshape(-1)[mesh.faces]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 1).all()
    assert {tuple(edge) for edge in there} == {tuple(edge[::-1]) for edge in there}


@pytest.mark.parametrize("name", SOLIDS)
def test_normals_point_out_and_belong_to_their_faces(name: str) -> None:
    mesh = SOLIDS[name][0]
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-6)
    a, b, c = (mesh.points[mesh.faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    for corner in range(3):  # an eighth of a turn is more than half the angle between neighbours, less than a sharp edge
        assert ((mesh.normals[mesh.faces[:, corner]] * flat).sum(axis=1) > math.cos(math.pi / 8)).all()
    assert mesh.normals.shape == mesh.points.shape
    assert (mesh.points.dtype, mesh.faces.dtype, mesh.normals.dtype) == (np.float32, np.int32, np.float32)


def test_corners_lie_on_the_true_surface() -> None:
    ball = SOLIDS["sphere"][0]
    assert np.allclose(np.linalg.norm(ball.points, axis=1), 0.1, atol=1e-7)
    assert len(ball.faces) == 320
    pill = SOLIDS["capsule"][0].points.astype(np.float64)
    axis = np.clip(pill[:, 2], -0.15, 0.15)
    assert np.allclose(np.linalg.norm(pill - np.column_stack([0 * axis, 0 * axis, axis]), axis=1), 0.1, atol=1e-7)


def test_the_same_measures_give_the_same_mesh() -> None:
    assert solids.box((1, 2, 3)) is solids.box(np.array([1.0, 2.0, 3.0]))
    assert solids.box((1, 2, 3)) is not solids.box((1, 2, 3), wrapped=True)
    assert solids.sphere(1) is solids.sphere(1.0)
    with pytest.raises(ValueError, match="read-only"):
        solids.sphere(1.0).points[0] = 0


def test_wrapped_faces_bear_a_picture_upright() -> None:
    sheet = solids.plane((2, 1), wrapped=True)
    assert sheet.texture_at is not None
    top_left = sheet.points[(sheet.texture_at == 0).all(axis=1)]
    assert np.allclose(top_left, [[-1, 0.5, 0]])
    cube = solids.box((1, 1, 1), wrapped=True)
    assert cube.texture_at is not None
    upright = np.abs(cube.normals[:, 2]) < 0.5
    assert np.array_equal(cube.texture_at[upright, 1], 0.5 - cube.points[upright, 2])
    # Texture coordinates keep their sense: no face bears its picture mirrored.
    a, b, c = (cube.texture_at[cube.faces[:, k]] for k in range(3))
    first, second = b - a, c - a
    assert (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0).all()


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf])
def test_measures_are_positive_lengths(wrong: float) -> None:
    for make in (
        lambda: solids.box((wrong, 1, 1)),
        lambda: solids.sphere(wrong),
        lambda: solids.cylinder(1, wrong),
        lambda: solids.plane((1, wrong)),
    ):
        with pytest.raises(ValueError, match="positive lengths"):
            make()
    with pytest.raises(ValueError, match="at least"):
        solids.capsule(1, 1.5)
