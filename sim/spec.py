"""Everything that decides what a simulated data set holds, as one frozen value that is kept in its manifest.

Two equal specifications give equal rows, whoever makes them and in whatever order. Every range of the randomisation is here,
and every draw from it is in the row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Range = tuple[float, float]  # from, to; drawn evenly unless said otherwise


@dataclass(frozen=True)
class Pool:
    """The things there are.

    Args:
        kinds: where forms come from: "primitives", "random" (pybullet_data's random_urdfs), "pybullet" (its household things),
            or "own" (the files of ``folder``); things are dealt evenly among them.
        folder: the user's own URDF and OBJ files, for "own".
        objects: how many things there are.
        touched: "hull" for one convex hull a thing (fast), "parts" for the convex parts that it was built of (touch is as seen).
        side: metres; the narrowest side that a form is scaled down to if it is wider, so that it fits the jaw.
        density: kg per cubic metre, drawn log-evenly.
        mass: kg; what is lighter or heavier is brought to these.
        friction: lateral, times the table's or the finger's.
        spinning: metres.
        restitution: share of speed kept.
        stiffness: N/m, log-evenly.
        damping: N s/m.
        shear: modulus of soft blocks, Pa, log-evenly.
        poisson: ratio of soft blocks; near 0.5, for rubber that keeps its volume, steps become many.
        recovery: seconds in which a dent in a soft block shrinks e-fold.
    """

    kinds: tuple[str, ...] = ("primitives", "random")
    folder: str = ""
    objects: int = 200
    touched: str = "hull"
    side: float = 0.055
    density: Range = (150.0, 1500.0)
    mass: Range = (0.01, 0.5)
    friction: Range = (0.4, 1.0)
    spinning: Range = (0.0005, 0.002)
    restitution: Range = (0.0, 0.3)
    stiffness: Range = (100.0, 3000.0)
    damping: Range = (5.0, 20.0)
    shear: Range = (2e3, 2e4)
    poisson: Range = (0.25, 0.4)
    recovery: Range = (0.005, 0.03)


@dataclass(frozen=True)
class Randomise:
    """What differs from picture to picture, besides which things stand where.

    Args:
        textures: share of scenes in which table and things bear textures.
        shadows: share of scenes in which things cast shadows.
        saturation: of the table's colour; things have their own colours.
        ambient: light from everywhere.
        diffuse: light of the lamp.
        tilt: how far the lamp leans from straight above, as the tangent of the angle.
        warmth: of the light: red is multiplied by 1 + w, blue by 1 - w.
        height: of the camera, metres.
        shift: of the camera, metres to either side in x and y.
        aim: of the point it looks at, metres likewise.
        roll: of the camera, radians.
        fov: degrees.
        table_friction: lateral.
        gravity_tilt: radians that the table leans by, in any direction.
        mass: factor on a thing's own mass in this scene.
        stiffness: factor on a thing's own stiffness in this scene.
        distractors: things that stand around and are never acted on, from, to (whole numbers).
        noise: standard deviation of the camera's noise, grey levels; drawn for each scene.
    """

    textures: float = 0.0
    shadows: float = 0.0
    saturation: Range = (0.05, 0.45)
    ambient: Range = (0.5, 0.7)
    diffuse: Range = (0.3, 0.6)
    tilt: Range = (0.0, 0.9)
    warmth: Range = (0.0, 0.0)
    height: Range = (0.68, 0.78)
    shift: Range = (-0.08, 0.08)
    aim: Range = (-0.01, 0.01)
    roll: Range = (-0.15, 0.15)
    fov: Range = (30.0, 30.0)
    table_friction: Range = (0.3, 0.8)
    gravity_tilt: Range = (0.0, 0.0)
    mass: Range = (1.0, 1.0)
    stiffness: Range = (1.0, 1.0)
    distractors: Range = (0, 0)
    noise: Range = (0.0, 0.0)


@dataclass(frozen=True)
class Outputs:
    """What is kept of an interaction besides the pictures before and after.

    Args:
        video: frames a second of a film of the action, 0 for none; must divide 240.
        wrist: whether the pictures of a camera in the hand are kept too.
        tactile: whether the pictures of the fingertips' cameras are kept too.
        quality: of JPEG for colour pictures, 1 to 100; 0 for PNG. Depth and ids are always PNG.
    """

    video: int = 0
    wrist: bool = False
    tactile: bool = False
    quality: int = 0


@dataclass(frozen=True)
class Spec:
    """A data set of interactions.

    Args:
        tasks: names of tasks; item i does ``tasks[i % len(tasks)]``.
        episodes: how many items.
        seed: chooses the pool and every draw.
        size: height and width of pictures.
        soft: whether pokes are played on blocks of rubber, which bend, instead of rigid things with springy surfaces;
            several times slower, and always with a floating tip.
        things: on a table, from, to (whole numbers).
        solver: "reference", "default" or "fast".
        robot: "jaw", "panda" or "kuka".
        renderer: "gl" or "tiny".
        sampler: "mixed" (near the middle and anywhere around), "random" (anywhere), "centred", or the path of a file of
            proposals that ends in .py (see `proposals`).
        per_shard: items in a shard.
        pool: the things there are.
        randomise: what differs from picture to picture.
        outputs: what is kept.
    """

    tasks: tuple[str, ...] = ("grasp", "push", "poke")
    episodes: int = 300
    seed: int = 0
    size: tuple[int, int] = (128, 128)
    soft: bool = False
    things: tuple[int, int] = (3, 5)
    solver: str = "default"
    robot: str = "jaw"
    renderer: str = "gl"
    sampler: str = "mixed"
    per_shard: int = 64
    pool: Pool = field(default_factory=Pool)
    randomise: Randomise = field(default_factory=Randomise)
    outputs: Outputs = field(default_factory=Outputs)
