"""Where a camera is at every frame, and how it is carried through a room: straight, left and right, keeping off everything."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from embodied_ssl.sim.camera import Camera, Floats
from embodied_ssl.sim.drive.rooms import Room
from embodied_ssl.sim.drive.spec import Indoors

_TRIES = 40  # paths tried at each speed
_SMOOTH = 0.5  # seconds over which speed and turn change
_AHEAD_OF_CAMERA = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # columns: its x, y, z where it looks along x


@dataclass(frozen=True)
class Track:
    """Where the camera was at every frame; it looks ahead, level.

    Attributes:
        position: metres, x east, y north, z up [n, 3].
        yaw: radians, 0 is east, counter-clockwise [n].
        speed: forward, m/s [n].
        turn: yaw rate, rad/s [n]; positive is a left turn.
    """

    position: Floats
    yaw: Floats
    speed: Floats
    turn: Floats

    def __len__(self) -> int:
        return len(self.yaw)

    def poses(self) -> Floats:
        """Camera to world [n, 4, 4]; its axes are x right, y down, z forward."""
        poses = np.tile(np.eye(4), (len(self), 1, 1))
        for pose, position, yaw in zip(poses, self.position, self.yaw, strict=True):
            turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
            pose[:3, :3] = turn @ _AHEAD_OF_CAMERA
            pose[:3, 3] = position
        return poses

    def camera_poses(self) -> Floats:
        """Camera to the first frame's camera [n, 4, 4]."""
        poses = self.poses()
        relative: Floats = np.linalg.inv(poses[0]) @ poses
        return relative

    def camera(self, frame: int, size: tuple[int, int], fov: float, near: float, far: float) -> Camera:
        """What a frame is taken with."""
        x, y, z = (float(value) for value in self.position[frame])
        yaw = float(self.yaw[frame])
        return Camera((x, y, z), (x + math.cos(yaw), y + math.sin(yaw), z), (0.0, 0.0, 1.0), *size, fov, near, far)


def draw_motion(rng: np.random.Generator, indoors: Indoors, rate: int) -> tuple[Floats, Floats]:
    """Draw a walk's forward speed in m/s and yaw rate in rad/s, one value a frame [n].

    Five stretches: a straight one, a left turn and a right turn in any order, and two more of these, of which one is the mirror
    of the other; so left and right are balanced in every walk.
    """
    extra = int(rng.integers(2))
    stretches = [0, 1, -1, *((0, 0), (1, -1))[extra]]
    speed, turn = [], []
    for sign in rng.permutation(stretches):
        frames = max(2, round(float(rng.uniform(*indoors.stretch)) * rate))
        speed += [float(rng.uniform(*(indoors.turning if sign else indoors.straight)))] * frames
        turn += [int(sign) * float(rng.uniform(*indoors.turn))] * frames
    reach = round(_SMOOTH * rate / 2)
    kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
    smooth = [np.convolve(np.pad(values, reach, mode="edge"), kernel, mode="valid") for values in (speed, turn)]
    return smooth[0], smooth[1]


def integrate(start: Floats, yaw: float, speed: Floats, turn: Floats, height: float, rate: int) -> Track:
    """Follow speed and yaw rate from a start [2]; each step between frames is an exact arc."""
    angle = turn[:-1] / rate
    yaws = yaw + np.concatenate([[0.0], np.cumsum(angle)])
    chord = speed[:-1] / rate * np.sinc(angle / (2 * np.pi))
    steps = np.stack([chord * np.cos(yaws[:-1] + angle / 2), chord * np.sin(yaws[:-1] + angle / 2)], axis=1)
    plane = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    return Track(np.column_stack([plane, np.full(len(plane), height)]), yaws, speed, turn)


def draw_walk(room: Room, rng: np.random.Generator, indoors: Indoors, rate: int) -> Track:
    """Draw a path that keeps off walls and furniture; slower ones are tried when fast ones do not fit."""
    speed, turn = draw_motion(rng, indoors, rate)
    height, half = float(rng.uniform(*indoors.height)), np.array([room.width, room.depth]) / 2
    starts = rng.uniform(-half, half, (2000, 2))
    starts = starts[room.free(starts)]
    if not len(starts):
        raise RuntimeError(f"the {room.kind} has no free spot")
    while True:
        for _ in range(_TRIES):
            start = starts[int(rng.integers(len(starts)))]
            track = integrate(start, float(rng.uniform(-np.pi, np.pi)), speed, turn, height, rate)
            if bool(room.free(track.position[:, :2]).all()):
                return track
        speed = 0.85 * speed
