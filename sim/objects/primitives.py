"""Boxes, cylinders, spheres and capsules of drawn measures, the narrow side of which fits the jaw."""

from __future__ import annotations

import numpy as np

from embodied_ssl.sim import solids
from embodied_ssl.sim.mesh import Mesh
from embodied_ssl.sim.objects import forms
from embodied_ssl.sim.objects.thing import Form, Primitive

KINDS = ("box", "cylinder", "sphere", "capsule")


def form(kind: str, side: float, rng: np.random.Generator) -> Form:
    """A primitive of drawn measures.

    Args:
        kind: one of ``KINDS``.
        side: the narrowest horizontal side in its likeliest rest is at most this, metres.
        rng: keyed by thing.
    """
    shape = Primitive(kind, _size(kind, rng, side))
    return forms.primitive(kind, shape, seen(shape))


def seen(shape: Primitive) -> Mesh:
    """The mesh of a primitive in its own frame."""
    x, _, z = shape.size
    if shape.kind == "box":
        return solids.box(shape.size)
    if shape.kind == "cylinder":
        return solids.cylinder(x / 2, z)
    return solids.sphere(x / 2) if shape.kind == "sphere" else solids.capsule(x / 2, z)


def _size(kind: str, rng: np.random.Generator, side: float) -> tuple[float, float, float]:
    """Extents from half of the side to a good deal more than it, where more still lies across the jaw's opening."""
    if kind == "box":
        # On its likeliest, largest face the two longer sides lie flat, so the middle one is what the jaw must span.
        low, middle = sorted(float(value) for value in rng.uniform(0.45 * side, side, 2))
        long = float(rng.uniform(middle, 1.6 * side))
        x, y, z = (float(value) for value in rng.permutation([low, middle, long]))
        return x, y, z
    if kind == "capsule":
        across = float(rng.uniform(0.5, 0.82)) * side
        return across, across, across + float(rng.uniform(0.45, 1.1)) * side
    across = float(rng.uniform(0.55, 1.0)) * side
    return across, across, across if kind == "sphere" else float(rng.uniform(0.55, 1.1)) * side
