"""The pictures themselves say how the camera moved: signs and axes of motions, proved by pixels of the real recordings.

Points that two pictures share fix the rotation between them and the direction of the way, but for its length. Nothing of
this comes from the poses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from embodied_ssl.datasets.kitti_odometry import KittiOdometry
from embodied_ssl.datasets.motion import SIX
from embodied_ssl.datasets.pose_folders import PoseFolders
from embodied_ssl.datasets.source import Source

pytestmark = pytest.mark.data

ALL = tuple(axis.name for axis in SIX)


@dataclass(frozen=True)
class Seen:
    """What was found in pairs of pictures, and what the reader says of them.

    Attributes:
        way: unit vectors forward, left, up [n, 3].
        turn: left yaw, up pitch, right roll in radians [n, 3].
        slide: by how many pixels the middle moved right and down, and by how many radians all turned clockwise [n, 3].
        said: the motions of the reader [n, 6].
    """

    way: np.ndarray
    turn: np.ndarray
    slide: np.ndarray
    said: np.ndarray

    def way_errors(self) -> np.ndarray:
        """Degrees between the way in the pictures and the way of the reader [n]."""
        said = self.said[:, :3] / np.linalg.norm(self.said[:, :3], axis=1, keepdims=True)
        return np.degrees(np.arccos(np.clip((said * self.way).sum(1), -1, 1)))

    def turn_errors(self) -> np.ndarray:
        """Degrees by which the angles differ, together [n]."""
        return np.degrees(np.linalg.norm(self.turn - self.said[:, 3:], axis=1))


def shared_points(first: np.ndarray, later: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points of one picture are in another: columns and rows [n, 2] twice."""
    finder = cv2.SIFT_create(1500, contrastThreshold=0.02)
    (one, here), (other, there) = (finder.detectAndCompute(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), None) for p in (first, later))
    pairs = [best for best, second in cv2.BFMatcher().knnMatch(here, there, k=2) if best.distance < 0.75 * second.distance]
    return np.array([one[p.queryIdx].pt for p in pairs]), np.array([other[p.trainIdx].pt for p in pairs])


def look(source: Source, matrix: np.ndarray, ahead: int, every: int) -> Seen:
    """Compare each chosen picture with the one ``ahead`` frames later."""
    rows = []
    for index in range(0, len(source) - ahead, every):
        sample = source[index]
        pair = sample["frames"].take([sample["frame"], int(sample["later"][ahead - 1])])
        here, there = shared_points(pair[0], pair[1])
        cv2.setRNGSeed(0)
        essential, good = cv2.findEssentialMat(here, there, matrix, cv2.RANSAC, 0.9999, 0.5)
        _, turned, shift, _ = cv2.recoverPose(essential, here, there, matrix, mask=good)
        affine, _ = cv2.estimateAffinePartial2D(here, there)
        middle = np.array([pair.shape[2] / 2, pair.shape[1] / 2])
        slid = affine @ [*middle, 1] - middle
        rows.append([*plainly(turned, shift[:, 0]), *slid, np.arctan2(affine[1, 0], affine[0, 0]), *sample["motions"][ahead - 1]])
    found = np.array(rows)
    return Seen(found[:, :3], found[:, 3:6], found[:, 6:9], found[:, 9:])


def plainly(turned: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Six numbers of a motion that takes points x of the first camera to ``turned @ x + shift`` in the second.

    The rows of ``turned`` are the second camera's right, down and ahead as the first one sees them.
    """
    right, _, ahead = turned
    place = -turned.T @ shift
    yaw, pitch = np.arctan2(-ahead[0], ahead[2]), np.arcsin(-ahead[1])
    level = np.array([np.cos(yaw), 0, np.sin(yaw)])
    roll = np.arctan2(right @ np.cross(ahead, level), right @ level)
    return np.array([place[2], -place[0], -place[1], yaw, pitch, roll])


def agree(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


@pytest.fixture(scope="module")
def road(data_root: Path) -> Seen:
    folder = data_root / "kitti_odometry" / "KITTI_sequence_2"
    source = KittiOdometry(str(folder.parent), axes=ALL, short_side=188).open()
    return look(source, np.loadtxt(folder / "calib_scaled.txt")[0].reshape(3, 4)[:, :3], ahead=1, every=3)


@pytest.fixture(scope="module")
def kitchen(data_root: Path) -> Seen:
    source = PoseFolders(str(data_root / "rgbd_7scenes"), axes=ALL, short_side=192).open()
    assert source.bad == []
    return look(source, np.loadtxt(data_root / "rgbd_7scenes" / "data" / "camera-intrinsics.txt"), ahead=10, every=20)


def test_a_car_turns_and_goes_where_its_pictures_say(road: Seen) -> None:
    """The data's own note: 0.07 degrees of rotation and 1.8 of direction apart, of about 2.3 turned a frame."""
    assert np.median(np.degrees(np.linalg.norm(road.said[:, 3:], axis=1))) == pytest.approx(2.3, abs=0.2)
    assert np.median(road.turn_errors()) < 0.15
    assert np.median(road.way_errors()) < 2.5
    assert road.way_errors().max() < 10
    assert agree(road.turn[:, 0], road.said[:, 3]) > 0.99


def test_a_hand_turns_and_goes_where_its_pictures_say(kitchen: Seen) -> None:
    """The data's own note for half as long a gap: 0.6 degrees of rotation apart. 7 cm of way leave its direction vague."""
    assert np.median(kitchen.turn_errors()) < 1.0
    assert np.median(np.degrees(np.linalg.norm(kitchen.said[:, 3:], axis=1))) > 2.5
    for axis in range(3):
        assert agree(kitchen.turn[:, axis], kitchen.said[:, 3 + axis]) > 0.9
    assert np.median(kitchen.way_errors()) < 20  # of a way drawn at random, half would be more than 90 off
    said = kitchen.said[:, :3] / np.linalg.norm(kitchen.said[:, :3], axis=1, keepdims=True)
    for axis in range(3):
        assert agree(kitchen.way[:, axis], said[:, axis]) > 0.7


def test_pictures_slide_against_the_turn(kitchen: Seen, road: Seen) -> None:
    """Turning left moves the picture to the right, looking up moves it down, rolling right turns it anticlockwise."""
    assert agree(road.slide[:, 0], road.said[:, 3]) > 0.95
    for seen, axis, sign in ((0, 3, 1), (1, 4, 1), (2, 5, -1)):
        assert sign * agree(kitchen.slide[:, seen], kitchen.said[:, axis]) > 0.8
    # By the focal length for each radian, and by one radian for one, but for what the way adds.
    assert np.polyfit(kitchen.said[:, 3], kitchen.slide[:, 0], 1)[0] == pytest.approx(234, rel=0.3)
    assert np.polyfit(kitchen.said[:, 4], kitchen.slide[:, 1], 1)[0] == pytest.approx(234, rel=0.3)
    assert np.polyfit(kitchen.said[:, 5], kitchen.slide[:, 2], 1)[0] == pytest.approx(-1, rel=0.2)
