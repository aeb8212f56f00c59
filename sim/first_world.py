"""One physics world: the only file that talks to PyBullet, so no call can reach another client by mistake.

A world is emptied and built anew for every scene (`World.clear`, then `add`). With primitive shapes that costs less than a
picture, and nothing survives from one scene to the next: what happens depends on the scene alone, bit for bit, whatever the
process did before. Lengths are metres, masses kilograms, forces newtons, angles radians; the table is the plane z = 0.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import UserError

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # x, y, z, w
Floats = NDArray[np.float64]

RATE = 240  # steps a second; at 120 too many grasps change their label
SHAPES = ("box", "cylinder", "sphere", "capsule")
UPRIGHT: Quaternion = (0.0, 0.0, 0.0, 1.0)


def load_pybullet() -> ModuleType:
    """Import PyBullet when it is first needed.

    Raises:
        UserError: it is absent, or was built without numpy (pictures would come out as tuples, slowly).
    """
    try:
        with _quiet():
            import pybullet
    except ImportError:
        raise UserError(
            "the simulator needs pybullet, which is not installed; use Python 3.11 and run: pip install pybullet==3.2.7"
        ) from None
    if not pybullet.isNumpyEnabled():
        raise UserError(
            "this pybullet was built without numpy; rebuild it beside numpy: pip install --no-build-isolation pybullet==3.2.7"
        )
    return pybullet  # type: ignore[no-any-return]


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing reaches the terminal: PyBullet greets with its build time, in every worker, from C."""
    kept = [os.dup(stream) for stream in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, old in zip((1, 2), kept, strict=True):
            os.dup2(old, stream)
            os.close(old)
        os.close(nowhere)


def quaternion(yaw: float, pitch: float = 0.0) -> Quaternion:
    """Turn by ``pitch`` about y, then by ``yaw`` about z."""
    a, b, c, d = math.cos(yaw / 2), math.sin(yaw / 2), math.cos(pitch / 2), math.sin(pitch / 2)
    return (-b * d, a * d, b * c, a * c)


@dataclass(frozen=True)
class Shape:
    """A primitive by its outer measures.

    Args:
        kind: one of ``SHAPES``.
        size: extent along its own x, y, z; a cylinder's and a capsule's axis is z.
    """

    kind: str
    size: Vector

    @property
    def volume(self) -> float:
        """Cubic metres."""
        x, _, z = self.size
        if self.kind == "box":
            return math.prod(self.size)
        if self.kind == "sphere":
            return math.pi / 6 * x**3
        if self.kind == "cylinder":
            return math.pi / 4 * x**2 * z
        return math.pi / 4 * x**2 * (z - x) + math.pi / 6 * x**3


@dataclass(frozen=True)
class Link:
    """A part of a tool that slides along one axis of its parent.

    Args:
        shape: what touches things.
        parent: 0 is the fixed base, n the n-th link.
        origin: where the link stands in its parent's frame at joint position 0.
        axis: the direction that it slides in.
        centre: the shape's centre in the link's frame.
        mass: of this link.
    """

    shape: Shape
    parent: int
    origin: Vector
    axis: Vector
    centre: Vector = (0.0, 0.0, 0.0)
    mass: float = 0.2


@dataclass(frozen=True)
class Light:
    """The one lamp, as the renderer takes it."""

    direction: Vector = (0.3, 0.2, 1.0)
    ambient: float = 0.6
    diffuse: float = 0.5
    specular: float = 0.05
    shadow: bool = True


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion; row 0, column 0 is the centre of the top left pixel.

    Args:
        position: of its centre, in the world.
        target: the point it looks at.
        up: a direction that points upwards in the picture.
        height: pixels.
        width: pixels.
        fov: vertical field of view, in degrees.
        near: distance of the near plane.
        far: distance of the far plane.
    """

    position: Vector
    target: Vector
    up: Vector
    height: int = 128
    width: int = 128
    fov: float = 30.0
    near: float = 0.1
    far: float = 2.0

    @property
    def matrix(self) -> Floats:
        """K [3, 3]: pixel (column, row, 1) ~ K (x right, y down, z forward).

        The renderer's optical axis meets the picture at row ``height / 2 - 1``, column ``width / 2`` (measured): it samples
        pixels at a corner, not in the middle.
        """
        focal = self.height / 2 / math.tan(math.radians(self.fov) / 2)
        return np.array([[focal, 0, self.width / 2], [0, focal, self.height / 2 - 1], [0, 0, 1]])

    @property
    def pose(self) -> Floats:
        """Camera to world [4, 4]; the camera's axes are x right, y down, z forward."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, self.up)
        right = right / np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = self.position
        return pose

    def project(self, points: Floats) -> Floats:
        """World points [n, 3] to (row, column, depth) [n, 3]; depth is along the camera's axis."""
        pose = self.pose
        local = (np.asarray(points, np.float64) - pose[:3, 3]) @ pose[:3, :3]
        pixels = local @ self.matrix.T
        return np.stack([pixels[:, 1] / pixels[:, 2], pixels[:, 0] / pixels[:, 2], pixels[:, 2]], axis=1)

    def ray(self, row: float, column: float) -> Floats:
        """The world direction [3] through a pixel, scaled so that its depth along the camera's axis is 1."""
        direction: Floats = self.pose[:3, :3] @ np.linalg.solve(self.matrix, np.array([column, row, 1.0]))
        return direction

    def at_depth(self, row: float, column: float, depth: float) -> Floats:
        """The world point [3] seen in a pixel at this depth."""
        return np.asarray(self.position) + depth * self.ray(row, column)

    def at_height(self, row: float, column: float, height: float) -> Floats:
        """The world point [3] seen in a pixel on the horizontal plane z = ``height``."""
        ray = self.ray(row, column)
        return self.at_depth(row, column, float((height - self.position[2]) / ray[2]))


@dataclass(frozen=True)
class View:
    """What a camera sees: colour uint8 [h, w, 3], depth in metres float32 [h, w], body ids int32 [h, w] (-1: none)."""

    rgb: Pixels
    depth: NDArray[np.float32]
    bodies: NDArray[np.int32]


@dataclass
class World:
    """One PyBullet client without a window. Bodies are whole numbers, valid until the next `clear`.

    Args:
        rate: steps a second.
        iterations: of the solver, at most, in a step.
        residual: the solver stops below this; 1e-3 halves the cost and keeps 99 % of the grasp labels.
    """

    rate: int = RATE
    iterations: int = 50
    residual: float = 1e-3
    _p: Any = field(init=False, repr=False)
    _client: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._p = load_pybullet()
        self._client = self._p.connect(self._p.DIRECT)
        if self._client < 0:
            raise UserError("pybullet offers no further world; close one first, or use fewer in one process")
        self.clear()

    def close(self) -> None:
        """Give the client back; the world is of no use afterwards."""
        if self._client >= 0:
            self._p.disconnect(physicsClientId=self._client)
            self._client = -1

    def clear(self, gravity: float = 9.81) -> None:
        """Remove everything, and set the engine up again (emptying it resets its parameters too)."""
        self._p.resetSimulation(physicsClientId=self._client)
        self._p.setPhysicsEngineParameter(
            fixedTimeStep=1 / self.rate,
            numSolverIterations=self.iterations,
            solverResidualThreshold=self.residual,
            deterministicOverlappingPairs=1,  # without it the order of contacts follows memory addresses
            physicsClientId=self._client,
        )
        self._p.setGravity(0, 0, -gravity, physicsClientId=self._client)

    def solve_finely(self) -> None:
        """Spend four times the solver's iterations, until the next `clear`; soft contacts converge slowly."""
        self._p.setPhysicsEngineParameter(
            numSolverIterations=4 * self.iterations, solverResidualThreshold=0.0, physicsClientId=self._client
        )

    def _kind(self, shape: Shape, visual: bool) -> dict[str, Any]:
        """A primitive in PyBullet's words, whose collision and visual shapes name a cylinder's height differently."""
        x, y, z = shape.size
        if shape.kind == "box":
            return {"shapeType": self._p.GEOM_BOX, "halfExtents": (x / 2, y / 2, z / 2)}
        if shape.kind == "sphere":
            return {"shapeType": self._p.GEOM_SPHERE, "radius": x / 2}
        tall = z if shape.kind == "cylinder" else z - x
        kind = self._p.GEOM_CYLINDER if shape.kind == "cylinder" else self._p.GEOM_CAPSULE
        return {"shapeType": kind, "radius": x / 2, ("length" if visual else "height"): tall}

    def _collision(self, shape: Shape, centre: Vector = (0.0, 0.0, 0.0)) -> int:
        made: int = self._p.createCollisionShape(
            **self._kind(shape, visual=False), collisionFramePosition=centre, physicsClientId=self._client
        )
        return made

    def _visual(self, shape: Shape, colour: Vector) -> int:
        """What is seen of a shape. The renderer draws capsules as spindles, so they are put together of three parts."""
        paint = (*colour, 1.0)
        if shape.kind != "capsule":
            made: int = self._p.createVisualShape(
                **self._kind(shape, visual=True), rgbaColor=paint, specularColor=(0.2, 0.2, 0.2), physicsClientId=self._client
            )
            return made
        x, _, z = shape.size
        many: int = self._p.createVisualShapeArray(
            shapeTypes=[self._p.GEOM_CYLINDER, self._p.GEOM_SPHERE, self._p.GEOM_SPHERE],
            radii=[x / 2] * 3,
            lengths=[z - x] * 3,
            halfExtents=[(x / 2, x / 2, x / 2)] * 3,
            visualFramePositions=[(0, 0, 0), (0, 0, (z - x) / 2), (0, 0, (x - z) / 2)],
            visualFrameOrientations=[UPRIGHT] * 3,
            rgbaColors=[paint] * 3,
            physicsClientId=self._client,
        )
        return many

    def add(
        self,
        shape: Shape,
        position: Vector,
        orientation: Quaternion = UPRIGHT,
        colour: Vector = (0.5, 0.5, 0.5),
        mass: float = 0.0,
        solid: bool = True,
    ) -> int:
        """Add a body of one shape; mass 0 never moves, and what is not ``solid`` is only seen."""
        visual = self._visual(shape, colour)
        body: int = self._p.createMultiBody(
            mass, self._collision(shape) if solid else -1, visual, position, orientation, physicsClientId=self._client
        )
        return body

    def set_friction(self, body: int, lateral: float, rolling: float = 0.0, spinning: float = 0.0, link: int = -1) -> None:
        """Two bodies in touch slide with the *product* of their lateral frictions."""
        self._p.changeDynamics(
            body,
            link,
            lateralFriction=lateral,
            rollingFriction=rolling,
            spinningFriction=spinning,
            physicsClientId=self._client,
        )

    def set_damping(self, body: int, linear: float, angular: float) -> None:
        """Drag of the medium; PyBullet's default of 0.04 shortens every slide a little."""
        self._p.changeDynamics(body, -1, linearDamping=linear, angularDamping=angular, physicsClientId=self._client)

    def set_stiffness(self, body: int, stiffness: float, damping: float) -> None:
        """Make a body's surface a spring (N/m) and damper (N s/m). There is no way back but `clear`."""
        self._p.changeDynamics(body, -1, contactStiffness=stiffness, contactDamping=damping, physicsClientId=self._client)

    def hold(self, body: int) -> None:
        """Make a body immovable."""
        self._p.resetBaseVelocity(body, (0, 0, 0), (0, 0, 0), physicsClientId=self._client)
        self._p.changeDynamics(body, -1, mass=0, physicsClientId=self._client)

    def add_tool(self, links: Sequence[Link], position: Vector, yaw: float = 0.0, friction: float = 1.0) -> int:
        """Add links that slide on an invisible fixed base; every joint starts at 0 with its motor off."""
        n = len(links)
        tool: int = self._p.createMultiBody(
            0,
            -1,
            -1,
            position,
            quaternion(yaw),
            linkMasses=[link.mass for link in links],
            linkCollisionShapeIndices=[self._collision(link.shape, link.centre) for link in links],
            linkVisualShapeIndices=[-1] * n,
            linkPositions=[link.origin for link in links],
            linkOrientations=[UPRIGHT] * n,
            linkInertialFramePositions=[(0, 0, 0)] * n,
            linkInertialFrameOrientations=[UPRIGHT] * n,
            linkParentIndices=[link.parent for link in links],
            linkJointTypes=[self._p.JOINT_PRISMATIC] * n,
            linkJointAxis=[link.axis for link in links],
            physicsClientId=self._client,
        )
        for joint in range(n):
            self.set_friction(tool, friction, spinning=0.01, link=joint)
            self.drive(tool, joint, speed=0.0, force=0.0)
        return tool

    def gear(self, tool: int, first: int, second: int, force: float) -> None:
        """Make two sliding joints of a tool keep the same position, as one motor would."""
        gear = self._p.createConstraint(
            tool, first, tool, second, self._p.JOINT_GEAR, (1, 0, 0), (0, 0, 0), (0, 0, 0), physicsClientId=self._client
        )
        self._p.changeConstraint(gear, gearRatio=-1, erp=0.5, maxForce=force, physicsClientId=self._client)

    def remove(self, body: int) -> None:
        """Take a body out of the world."""
        self._p.removeBody(body, physicsClientId=self._client)

    def step(self, count: int = 1) -> None:
        """Let time pass."""
        for _ in range(count):
            self._p.stepSimulation(physicsClientId=self._client)

    def set_pose(self, body: int, position: Vector, orientation: Quaternion = UPRIGHT) -> None:
        """Put a body somewhere else, at rest."""
        self._p.resetBasePositionAndOrientation(body, position, orientation, physicsClientId=self._client)
        self.set_velocity(body, (0.0, 0.0, 0.0))

    def set_velocity(self, body: int, linear: Vector) -> None:
        """Give a body a speed, without spin."""
        self._p.resetBaseVelocity(body, linear, (0, 0, 0), physicsClientId=self._client)

    def pose(self, body: int) -> Floats:
        """Position and orientation x, y, z, qx, qy, qz, qw [7]."""
        position, orientation = self._p.getBasePositionAndOrientation(body, physicsClientId=self._client)
        return np.array([*position, *orientation])

    def set_joint(self, tool: int, joint: int, position: float) -> None:
        """Put a joint somewhere else, at rest; nothing in between is touched."""
        self._p.resetJointState(tool, joint, position, 0.0, physicsClientId=self._client)

    def joint(self, tool: int, joint: int) -> tuple[float, float]:
        """A joint's position, and the force that its motor applied in the last step."""
        state = self._p.getJointState(tool, joint, physicsClientId=self._client)
        return state[0], state[3]

    def drive(self, tool: int, joint: int, speed: float, force: float) -> None:
        """Set a joint's motor to keep a speed with at most this force; force 0 lets it slide freely."""
        self._p.setJointMotorControl2(
            tool, joint, self._p.VELOCITY_CONTROL, targetVelocity=speed, force=force, physicsClientId=self._client
        )

    def keep(self, tool: int, joint: int, position: float, force: float, speed: float = 0.5) -> None:
        """Set a joint's motor to go to a position and stay there with at most this force and speed."""
        self._p.setJointMotorControl2(
            tool,
            joint,
            self._p.POSITION_CONTROL,
            targetPosition=position,
            force=force,
            maxVelocity=speed,
            physicsClientId=self._client,
        )

    def force_on(self, tool: int, link: int, body: int | None = None) -> Floats:
        """The contact force on a tool's link in the last step [3], from one body or from all of them."""
        other = {} if body is None else {"bodyB": body}
        contacts = self._p.getContactPoints(bodyA=tool, linkIndexA=link, physicsClientId=self._client, **other)
        total = np.zeros(3)
        for contact in contacts:  # 7: normal on B, towards A; 9: normal force
            total += contact[9] * np.asarray(contact[7])
        return total

    def touches(self, tool: int, link: int, body: int) -> bool:
        """Whether a link pressed on a body in the last step."""
        contacts = self._p.getContactPoints(bodyA=tool, linkIndexA=link, bodyB=body, physicsClientId=self._client)
        return any(contact[9] > 0 for contact in contacts)

    def blocked(self, tool: int, bodies: Sequence[int]) -> bool:
        """Whether a tool overlaps any of these bodies where it stands now."""
        return any(self.gap(tool, body) <= 0 for body in bodies)

    def gap(self, tool: int, body: int, most: float = 0.1) -> float:
        """The distance between a tool and a body, negative where they overlap; ``most`` when it is more."""
        near = self._p.getClosestPoints(tool, body, most, physicsClientId=self._client)
        return min([most, *(float(point[8]) for point in near)])

    def look(self, camera: Camera, light: Light | None = None) -> View:
        """Take a picture with the software renderer, which every machine has."""
        light = light or Light()
        view = self._p.computeViewMatrix(camera.position, camera.target, camera.up, physicsClientId=self._client)
        lens = self._p.computeProjectionMatrixFOV(
            camera.fov, camera.width / camera.height, camera.near, camera.far, physicsClientId=self._client
        )
        _, _, rgba, depth, bodies = self._p.getCameraImage(
            camera.width,
            camera.height,
            view,
            lens,
            lightDirection=light.direction,
            lightColor=(1, 1, 1),
            lightDistance=2.0,
            lightAmbientCoeff=light.ambient,
            lightDiffuseCoeff=light.diffuse,
            lightSpecularCoeff=light.specular,
            shadow=int(light.shadow),
            renderer=self._p.ER_TINY_RENDERER,
            physicsClientId=self._client,
        )
        # The buffers belong to PyBullet and are written again by the next picture.
        z = camera.far * camera.near / (camera.far - (camera.far - camera.near) * np.asarray(depth, np.float64))
        return View(np.array(rgba[..., :3], np.uint8), z.astype(np.float32), np.array(bodies, np.int32))


_worlds: dict[int, World] = {}


def shared_world() -> World:
    """This process's world, made when first asked for; never one inherited from a parent process."""
    pid = os.getpid()
    if pid not in _worlds:
        _worlds.clear()
        _worlds[pid] = World()
    return _worlds[pid]
