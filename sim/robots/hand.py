"""What every robot can do: the tasks are written against this, so that any robot can do any of them.

A robot makes hands. A hand is there from the moment it acts until it leaves, and nothing of it is left then; three kinds of it
do the three things that are done with objects: a jaw closes, a finger sweeps, a tip presses. The fingertips' point is the lowest
middle point between the fingers of a jaw, the lower end of a finger, and the lowest point of a tip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from embodied_ssl.errors import UserError
from embodied_ssl.sim.camera import Camera, Floats, Point
from embodied_ssl.sim.render.renderer import Drawn
from embodied_ssl.sim.senses import Senses

ROBOT = -2  # in a view's ids
OPENING = 0.08  # metres between the fingers of an open jaw
ROUND = 0.02  # metres; thickness of a tip, which can press half as deep: further in, the engine counts the contact twice


class Unreachable(UserError):
    """A robot cannot stand where it should; draw another place.

    Args:
        message: one line for people.
        residual: metres between the place and the nearest that was found.
    """

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(message)
        self.residual = residual


class Hand(Protocol):
    """Something that acts, from the moment it enters the scene until it leaves.

    Attributes:
        residual: metres between where it should stand and where it stands; 0 for floating ones.
        body: its body in the client.
    """

    residual: float
    body: int

    def go(self, target: Point, speed: float, force: float = 60.0) -> int:
        """Start a straight motion of the fingertips' point.

        Args:
            target: where to, in the world [3].
            speed: metres a second.
            force: newtons; about the most that it presses with to keep to it.

        Returns:
            How many steps it takes, at 240 a second, if nothing is in the way. It ends at the target exactly.

        Raises:
            Unreachable: an arm cannot follow that line.
        """
        ...

    def advance(self) -> None:
        """Set the motors for the next step; to be called once before every step."""
        ...

    def close(self, force: float, speed: float) -> None:
        """Close a jaw.

        Args:
            force: newtons of each finger.
            speed: metres a second of each finger.
        """
        ...

    def open(self, speed: float) -> None:
        """Open a jaw as wide as it was when it came, at so many metres a second of each finger."""
        ...

    def forces(self, body: int | None = None) -> Floats:
        """Contact force on each finger in the last step, in newtons, normal and friction, from one body or from all.

        Returns:
            [2, 3] for a jaw, [1, 3] for a finger and a tip.
        """
        ...

    def senses(self, body: int | None = None) -> Senses:
        """To note step by step what the fingers feel, from one body or from all, where they are and how far apart."""
        ...

    def touching(self, body: int) -> tuple[bool, ...]:
        """Whether each finger pressed on a body in the last step."""
        ...

    def opening(self) -> float:
        """Metres between the fingers; 0 for a finger and a tip."""
        ...

    def where(self) -> Floats:
        """The fingertips' point in the world [3]."""
        ...

    def overlaps(self, bodies: Sequence[int]) -> bool:
        """Whether it stands in, or touches, any of these bodies now."""
        ...

    def gap(self, body: int, most: float = 0.1) -> float:
        """The distance to a body now, negative where they overlap; ``most`` when it is more."""
        ...

    def drawn(self) -> list[Drawn]:
        """What is seen of it now; its id is `ROBOT`."""
        ...

    def camera(self, size: tuple[int, int]) -> Camera:
        """A camera in the hand that looks at the fingertips' point; ``size`` is height, width."""
        ...

    def fingertip_cameras(self, size: tuple[int, int]) -> list[Camera]:
        """A camera for each finger, for pictures of things alone (not of the robot).

        It stands behind the fingertip's pad and looks out through it: the depth of what is squeezed against the pad is that of
        the pad, 20 mm, less what the pad gives way. The picture's height spans 20 mm of the pad.
        """
        ...

    def leave(self) -> None:
        """Go out of the world; it is of no use afterwards."""
        ...


@contextmanager
def acting(hand: Hand) -> Iterator[Hand]:
    """A hand that leaves at the end, and when it cannot go where it should."""
    try:
        yield hand
    finally:
        hand.leave()


class Robot(Protocol):
    """Something that has hands; at most one of them is in the world at a time.

    Attributes:
        name: what a specification calls it.
    """

    name: str

    def jaw(self, point: Point, yaw: float) -> Hand:
        """An open jaw.

        Args:
            point: of the fingertips, in the world [3].
            yaw: that it closes along, radians about z from x.

        Raises:
            Unreachable: an arm cannot stand there.
        """
        ...

    def finger(self, point: Point, yaw: float) -> Hand:
        """Something thin and upright that is about to sweep.

        Args:
            point: its lower end, in the world [3].
            yaw: that it will sweep along, radians about z from x.

        Raises:
            Unreachable: an arm cannot stand there.
        """
        ...

    def tip(self, point: Point) -> Hand:
        """A round end, `ROUND` thick, that is about to press.

        Args:
            point: its lowest point, in the world [3].

        Raises:
            Unreachable: an arm cannot stand there.
        """
        ...
