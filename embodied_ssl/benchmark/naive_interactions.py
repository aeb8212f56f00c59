"""What people write when they need interactions: everything loaded anew, every phase simulated, PyBullet's own pictures.

Frozen: this is what the simulator's rates are compared with, so it is never made faster or slower. A Panda from PyBullet's own
data on a plane, five of its random objects at two thirds of their size, one second for each phase, and two pictures of 224 pixels
with depth and segmentation by the software renderer with shadows, as `getCameraImage` gives them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from embodied_ssl.sim.client import Client, data_folder

SIZE = 224
OBJECTS = 5
SECOND = 240  # steps
HOME = (0.0, -0.4, 0.0, -2.2, 0.0, 1.9, 0.785, 0.04, 0.04)
HAND, FINGERS = 11, (9, 10)
TASKS = ("grasp", "push", "poke")


class Naive:
    """One client, and a scene that is built for every interaction."""

    def __init__(self) -> None:
        self.client = Client()
        self.data = data_folder()

    def interaction(self, index: int) -> dict[str, Any]:
        """Build, settle, look, act, look."""
        rng = np.random.default_rng(index)
        p = self.client
        p.resetSimulation()
        p.setAdditionalSearchPath(str(self.data))
        p.setGravity(0, 0, -9.81)
        p.loadURDF("plane.urdf")
        self.arm = p.loadURDF("franka_panda/panda.urdf", (-0.5, 0, 0), useFixedBase=True)
        for joint, angle in zip((*range(7), *FINGERS), HOME, strict=True):
            p.resetJointState(self.arm, joint, angle)
        bodies = [self._object(rng) for _ in range(OBJECTS)]
        self._hold(HOME[:7])
        self._step(SECOND)
        before = self._look()
        x, y, z = p.getBasePositionAndOrientation(bodies[0])[0]
        task = TASKS[index % len(TASKS)]
        success = getattr(self, f"_{task}")(bodies[0], x, y, z, rng.uniform(0, math.pi))
        return {"before": before, "after": self._look(), "success": success}

    def _object(self, rng: np.random.Generator) -> int:
        number = int(rng.integers(1000))
        body: int = self.client.loadURDF(
            f"random_urdfs/{number:03d}/{number:03d}.urdf", (*rng.uniform(-0.12, 0.12, 2), 0.08), globalScaling=2 / 3
        )
        return body

    def _step(self, steps: int) -> None:
        for _ in range(steps):
            self.client.stepSimulation()

    def _look(self) -> tuple[Any, Any, Any]:
        p = self.client
        view = p.computeViewMatrix((0, 0, 0.7), (0, 0, 0), (0, 1, 0))
        lens = p.computeProjectionMatrixFOV(30, 1, 0.1, 2.0)
        _, _, rgb, depth, seen = p.getCameraImage(SIZE, SIZE, view, lens, renderer=p.ER_TINY_RENDERER)
        return np.array(rgb)[..., :3], np.array(depth), np.array(seen)

    def _hold(self, angles: Any) -> None:
        for joint, angle in enumerate(angles):
            self.client.setJointMotorControl2(
                self.arm, joint, self.client.POSITION_CONTROL, targetPosition=angle, force=240, maxVelocity=1.5
            )

    def _fingers(self, opening: float, force: float) -> None:
        for finger in FINGERS:
            self.client.setJointMotorControl2(self.arm, finger, self.client.POSITION_CONTROL, targetPosition=opening, force=force)

    def _reach(self, x: float, y: float, z: float, yaw: float, steps: int = SECOND) -> None:
        turn = self.client.getQuaternionFromEuler((math.pi, 0, yaw))
        angles = self.client.calculateInverseKinematics(self.arm, HAND, (x, y, z), turn, maxNumIterations=100)
        self._hold(angles[:7])
        self._step(steps)

    def _grasp(self, body: int, x: float, y: float, z: float, yaw: float) -> bool:
        self._fingers(0.04, 20)
        self._reach(x, y, 0.25, yaw)
        self._reach(x, y, max(z, 0.01), yaw)
        self._fingers(0.0, 25)
        self._step(SECOND // 2)
        self._reach(x, y, 0.25, yaw)
        return bool(self.client.getBasePositionAndOrientation(body)[0][2] > z + 0.05)

    def _push(self, body: int, x: float, y: float, z: float, yaw: float) -> bool:
        self._fingers(0.0, 20)
        ahead = np.array([math.cos(yaw), math.sin(yaw)])
        start, end = np.array([x, y]) - 0.1 * ahead, np.array([x, y]) + 0.05 * ahead
        self._reach(start[0], start[1], 0.25, yaw)
        self._reach(start[0], start[1], 0.02, yaw)
        self._reach(end[0], end[1], 0.02, yaw)
        self._reach(end[0], end[1], 0.25, yaw)
        moved = np.array(self.client.getBasePositionAndOrientation(body)[0][:2]) - (x, y)
        return bool(np.linalg.norm(moved) > 0.01)

    def _poke(self, body: int, x: float, y: float, z: float, yaw: float) -> bool:
        self._fingers(0.0, 20)
        self._reach(x, y, 0.25, yaw)
        self._reach(x, y, max(z, 0.01), yaw)
        touched = bool(self.client.getContactPoints(bodyA=self.arm, bodyB=body))
        self._reach(x, y, 0.25, yaw)
        return touched
