"""What a motion is made of: named axes, each with what its two directions are called and what a mirror image does to it.

Poses give up to six (`SIX`), in metres and radians; commands give those that the data set's own columns stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from embodied_ssl.errors import UserError, suggest


class Axis(NamedTuple):
    """One coordinate of a motion.

    Attributes:
        name: of the coordinate, as in ``--set data.axes=forward,left_yaw``.
        more, less: what motions are called in which it is large, and largely negative.
        mirror: what exchanging left and right in the pictures makes of it: 1 the same, -1 the opposite, 0 not known.
    """

    name: str
    more: str
    less: str
    mirror: int


FORWARD = Axis("forward", "forward", "back", 1)
LEFT = Axis("left", "sideways left", "sideways right", -1)
UP = Axis("up", "rise", "sink", 1)
LEFT_YAW = Axis("left_yaw", "left", "right", -1)
UP_PITCH = Axis("up_pitch", "look up", "look down", 1)
RIGHT_ROLL = Axis("right_roll", "roll right", "roll left", -1)

SIX = (FORWARD, LEFT, UP, LEFT_YAW, UP_PITCH, RIGHT_ROLL)  # in the order of `poses.six`
ON_THE_ROAD = ("forward", "left_yaw")  # the two in which cars, and the papers about them, move

IN_THE_HAND = ("left_yaw", "up_pitch")  # a camera in the hand looks around more than it goes anywhere


def named(names: Sequence[str], offered: Sequence[Axis] = SIX) -> tuple[int, ...]:
    """The positions of axes by name.

    Raises:
        UserError: none was named, one twice, or one that is not offered; says which there are.
    """
    known = [axis.name for axis in offered]
    for name in names:
        if name not in known:
            raise UserError(f"no axis of motion '{name}'{suggest(name, known)}; there are {', '.join(known)}")
    if not names or len(set(names)) < len(names):
        raise UserError(f"axes are {', '.join(names) or 'empty'}; give one or more of {', '.join(known)}, each once")
    return tuple(known.index(name) for name in names)
