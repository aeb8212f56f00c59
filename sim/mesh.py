"""Triangles: what is seen of anything, and what its hull is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles, counter-clockwise as seen from outside; compared, hashed and kept by identity.

    Attributes:
        points: corners, metres, float32 [n, 3].
        faces: indices of corners, int32 [m, 3].
        normals: of each corner, unit length, float32 [n, 3]; corners are not shared across sharp edges.
        texture_at: where in a texture each corner lies, float32 [n, 2]; None for one without. (0, 0) is its top left, (1, 1) its
            bottom right, and it repeats beyond. (OBJ counts the second from the bottom: take ``1 - v``.)
        picture: its own texture uint8 [h, w, 3], red green blue; None for one without.
    """

    points: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    texture_at: NDArray[np.float32] | None = None
    picture: Pixels | None = None
