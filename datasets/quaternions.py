"""Unit quaternions with w first, as comma2k19 and nuScenes write them; to and from rotation matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

NEAR_ONE = 1e-3  # what the length of a published quaternion may be off


def are_unit(quaternions: ArrayLike) -> NDArray[np.bool_]:
    """Whether each of [..., 4] is finite and of length one."""
    length = np.linalg.norm(np.asarray(quaternions, np.float64), axis=-1)
    return np.asarray(np.abs(length - 1) < NEAR_ONE)  # not so for NaN


def matrices(quaternions: ArrayLike) -> NDArray[np.float64]:
    """Rotations [n, 3, 3] of unit quaternions (w, x, y, z) [n, 4], in Hamilton's convention: R v is q v q*."""
    from scipy.spatial.transform import Rotation  # takes longer to import than all that reads data

    turns: NDArray[np.float64] = Rotation.from_quat(np.roll(np.asarray(quaternions, np.float64), -1, axis=-1)).as_matrix()
    return turns


def of_matrices(turns: ArrayLike) -> NDArray[np.float64]:
    """Unit quaternions (w, x, y, z) [n, 4] of rotations [n, 3, 3]."""
    from scipy.spatial.transform import Rotation

    quaternions: NDArray[np.float64] = np.roll(Rotation.from_matrix(turns).as_quat(), 1, axis=-1)
    return quaternions
