"""Everything that decides what a data set of drives holds, as one frozen value that is kept in its manifest.

Two equal specifications give equal files. Every range of the randomisation is here; every draw from it is in the drive's facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from embodied_ssl.errors import UserError, suggest
from embodied_ssl.sim.render.choose import NAMES
from embodied_ssl.sim.spec import Range

PLACES = ("rooms", "street", "both")


@dataclass(frozen=True)
class Indoors:
    """A camera that is carried through rooms.

    Args:
        kinds: of rooms, taken in turn; keys of `embodied_ssl.sim.drive.kinds.KINDS`, or none for all of them.
        height: of the camera, metres.
        fov: vertical, degrees; drawn for each camera, not for each drive.
        straight: speed straight ahead, m/s; a path that finds no way is slowed down until it fits.
        turning: speed in turns, m/s.
        turn: yaw rate in turns, rad/s.
        stretch: seconds that each straight piece and each turn lasts.
        custom: share of walls, and of floors, near their kind's customary colour; the others have any.
    """

    kinds: tuple[str, ...] = ()
    height: Range = (1.0, 1.4)
    fov: Range = (65.0, 65.0)
    straight: Range = (0.5, 0.8)
    turning: Range = (0.25, 0.5)
    turn: Range = (0.5, 0.9)
    stretch: Range = (0.8, 1.2)
    custom: float = 0.15


@dataclass(frozen=True)
class Outdoors:
    """A camera on a car that is driven through the streets of a town.

    Args:
        height: of the camera, metres.
        fov: vertical, degrees; drawn for each camera, not for each drive.
        speed: m/s; turns are taken near the lower limit, straight stretches at up to a speed drawn from its upper part.
        junctions: how many are passed; the first three are a left turn, a right turn and straight on, in any order.
    """

    height: Range = (1.4, 1.7)
    fov: Range = (50.0, 50.0)
    speed: Range = (5.0, 15.0)
    junctions: int = 3


@dataclass(frozen=True)
class Look:
    """What surfaces and light are like.

    Args:
        textures: share of rooms and towns whose surfaces bear textures.
        shadows: share of rooms and towns in which things cast shadows.
        ambient: light from everywhere.
        diffuse: light of the lamp.
        tilt: how far the lamp leans from straight above, as the tangent of the angle.
        warmth: of the light: red is multiplied by 1 + w, blue by 1 - w.
        noise: standard deviation of the camera's noise, grey levels; drawn for each drive and each room of the stills.
    """

    textures: float = 0.5
    shadows: float = 0.5
    ambient: Range = (0.5, 0.75)
    diffuse: Range = (0.25, 0.5)
    tilt: Range = (0.2, 0.9)
    warmth: Range = (-0.06, 0.06)
    noise: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Stills:
    """Labelled pictures of rooms that no drive goes through, and of towns too where drives go through streets.

    Args:
        train: rooms of each kind in the training part; 0 in both parts for no stills.
        test: rooms of each kind in the test part.
        views: stills of each room.
        size: height and width.
    """

    train: int = 20
    test: int = 12
    views: int = 4
    size: tuple[int, int] = (96, 128)


@dataclass(frozen=True)
class DriveSpec:
    """A data set of drives, and of stills beside them.

    Args:
        places: "rooms", "street", or "both" in turn.
        drives: how many.
        seed: chooses every draw.
        size: height and width of drives' frames, both even.
        rate: frames a second; KITTI has 10.
        cameras: how many cameras there are; each has its own field of view and, as in KITTI, its own date with a calibration.
            Drives take them in turn.
        renderer: "gl", "tiny", or "auto" for gl where it works; the manifest has which it was.
        depth: whether depth is kept too, as KITTI does: 16-bit PNG of metres times 256, 0 for none.
        indoors: how rooms are walked through.
        outdoors: how streets are driven through.
        look: what surfaces and light are like.
        stills: labelled pictures of other places.
    """

    places: str = "rooms"
    drives: int = 60
    seed: int = 0
    size: tuple[int, int] = (96, 128)
    rate: int = 10
    cameras: int = 1
    renderer: str = "auto"
    depth: bool = False
    indoors: Indoors = field(default_factory=Indoors)
    outdoors: Outdoors = field(default_factory=Outdoors)
    look: Look = field(default_factory=Look)
    stills: Stills = field(default_factory=Stills)


def _range(name: str, given: Range, low: float, high: float) -> None:
    if not low <= given[0] <= given[1] <= high:
        raise UserError(f"{name} is {given[0]:g} to {given[1]:g}; give two numbers of {low:g} to {high:g}, the smaller first")


def _share(name: str, given: float) -> None:
    if not 0 <= given <= 1:
        raise UserError(f"{name} is {given:g}; give a share of 0 to 1")


def _size(name: str, size: tuple[int, int]) -> None:
    if min(size) < 16 or max(size) > 2048:
        raise UserError(f"{name} is {size[0]} x {size[1]}; give 16 to 2048 pixels")


def check(spec: DriveSpec, accepted: tuple[str, ...]) -> None:
    """Refuse what cannot be simulated.

    Args:
        spec: what is asked for.
        accepted: the kinds of rooms there are.

    Raises:
        UserError: a value is not accepted; the message says which are.
    """
    if spec.places not in PLACES:
        raise UserError(f"there is no place '{spec.places}'{suggest(spec.places, PLACES)}")
    if spec.renderer not in NAMES:
        raise UserError(f"there is no renderer '{spec.renderer}'{suggest(spec.renderer, NAMES)}")
    for kind in spec.indoors.kinds:
        if kind not in accepted:
            raise UserError(f"there is no kind of room '{kind}'{suggest(kind, accepted)}")
    if len(set(spec.indoors.kinds)) != len(spec.indoors.kinds):
        raise UserError(f"a kind of room is named twice in {','.join(spec.indoors.kinds)}; name each once")
    if spec.drives < 1:
        raise UserError(f"--episodes is {spec.drives}; give 1 or more")
    if spec.seed < 0:
        raise UserError(f"--seed is {spec.seed}; give a whole number of at least 0")
    _size("--size", spec.size)
    if spec.size[0] % 2 or spec.size[1] % 2:
        raise UserError(f"--size is {spec.size[0]} x {spec.size[1]}; video needs even numbers")
    if not 1 <= spec.rate <= 240:
        raise UserError(f"rate is {spec.rate}; give 1 to 240 frames a second")
    if not 1 <= spec.cameras <= 28:
        raise UserError(f"cameras is {spec.cameras}; give 1 to 28")
    _check_ways(spec)
    _check_look(spec.look)
    _check_stills(spec.stills)


def _check_ways(spec: DriveSpec) -> None:
    indoors, outdoors = spec.indoors, spec.outdoors
    _range("indoors.height", indoors.height, 0.1, 2.2)
    _range("outdoors.height", outdoors.height, 0.5, 4.0)
    _range("indoors.fov", indoors.fov, 20, 120)
    _range("outdoors.fov", outdoors.fov, 20, 120)
    _range("indoors.straight", indoors.straight, 0.05, 5)
    _range("indoors.turning", indoors.turning, 0.05, 5)
    _range("indoors.turn", indoors.turn, 0.05, 3)
    _range("indoors.stretch", indoors.stretch, 0.3, 10)
    _range("outdoors.speed", outdoors.speed, 1, 20)
    _share("indoors.custom", indoors.custom)
    if not 3 <= outdoors.junctions <= 8:
        raise UserError(f"outdoors.junctions is {outdoors.junctions}; give 3 to 8")


def _check_look(look: Look) -> None:
    _share("look.textures", look.textures)
    _share("look.shadows", look.shadows)
    _range("look.ambient", look.ambient, 0.05, 1)
    _range("look.diffuse", look.diffuse, 0, 1)
    _range("look.tilt", look.tilt, 0, 3)
    _range("look.warmth", look.warmth, -0.5, 0.5)
    _range("look.noise", look.noise, 0, 50)


def _check_stills(stills: Stills) -> None:
    _size("stills.size", stills.size)
    if min(stills.train, stills.test) < 0 or not 1 <= stills.views <= 100:
        raise UserError(
            f"stills of {stills.train} and {stills.test} rooms, {stills.views} views each; give 0 or more rooms, 1 to 100 views"
        )
