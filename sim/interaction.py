"""One interaction, from its number to its row: a pure function, so that a data set is the same whoever makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType

import numpy as np

from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem
from embodied_ssl.keys import generator
from embodied_ssl.sim import proposals
from embodied_ssl.sim.camera import View
from embodied_ssl.sim.robots.hand import Unreachable
from embodied_ssl.sim.rows import Row, depth_png, things_png
from embodied_ssl.sim.schema import ACTIONS, TASKS
from embodied_ssl.sim.spec import Outputs, Spec
from embodied_ssl.sim.tasks import grasp, observe, poke, push, soft
from embodied_ssl.sim.tasks.outcome import Felt, Outcome, resample
from embodied_ssl.sim.tasks.scene import Scene
from embodied_ssl.sim.tasks.stage import Stage, Table, photograph, shared_stage

ACTS: dict[str, ModuleType] = {"grasp": grasp, "push": push, "poke": poke, "observe": observe}
_TRIES = 8


def task_of(spec: Spec, index: int) -> str:
    """The task of an item."""
    return spec.tasks[index % len(spec.tasks)]


def player(task: str, spec: Spec) -> ModuleType:
    """Who chooses and attempts an action of a task: pokes at soft things have a file of their own."""
    return soft if spec.soft and task == "poke" else ACTS[task]


def set_table(stage: Stage, task: str, index: int, scene: Scene | None = None) -> Table:
    """Set the table for item ``index``, or for a scene of one's own."""
    table: Table = soft.set_table(stage, index, scene) if player(task, stage.spec) is soft else stage.set_table(index, scene)
    return table


def choose(task: str, table: Table, spec: Spec, index: int, attempt: int = 0) -> tuple[float, ...]:
    """Draw the action of an item; ``attempt`` counts those that the robot could not reach."""
    draw = partial(player(task, spec).choose, table)
    if proposals.is_file(spec.sampler):
        seen = replace(table.view, rgb=photograph(table.view, table.scene.noise, spec.seed, "noise", "before", index))
        return proposals.choose(spec.sampler, task, seen, draw, (spec.seed, index, attempt))
    action: tuple[float, ...] = draw(generator(spec.seed, "action", index, attempt))
    return action


def play(stage: Stage, index: int) -> tuple[Table, Outcome, View]:
    """Set the table, do one thing to it and look again; everything as arrays in memory.

    Raises:
        BadItem: the robot can reach none of eight drawn places.
    """
    task = task_of(stage.spec, index)
    for attempt in range(_TRIES):
        table = set_table(stage, task, index)
        try:
            outcome: Outcome = player(task, stage.spec).attempt(table, choose(task, table, stage.spec, index, attempt))
        except Unreachable as error:  # what it began is undone by setting the table anew
            reason = str(error)
            continue
        if task != "push":  # a push has come to rest already, to see what moved
            table.rest()
        return table, outcome, table.look_again(outcome.second)
    raise BadItem(f"interaction {index}", f"the robot reached none of {_TRIES} places ({reason})")


def interaction(spec: Spec, index: int) -> Row:
    """Set a table, do one thing to it, and tell all about it; depends on nothing but its arguments.

    Args:
        spec: of the data set.
        index: which item; its task is ``tasks[index % len(tasks)]``.

    Returns:
        A row as `schema.SCHEMA` says, pictures encoded.
    """
    table, outcome, after = play(shared_stage(spec), index)
    return {"index": index, **facts(task_of(spec, index), table, outcome), **_pictures(table, outcome, after, spec, index)}


def facts(task: str, table: Table, outcome: Outcome) -> Row:
    """All of a row but its index and its pictures; to be asked before the table is set anew."""
    actions = {name: [0.0] * length for name, length in ACTIONS.items()}
    return {
        "task": TASKS.index(task),
        "success": outcome.success,
        **actions,
        task: list(outcome.action),
        "residual": outcome.residual,
        **_felt(outcome.felt),
        **_acted(table, outcome),
        **_drawn(table),
        "states_before": table.before.ravel().tolist(),
        "states_after": table.states().ravel().tolist(),
        "camera_pose_after": (outcome.second or table.camera).pose.ravel().tolist(),
    }


def _felt(felt: Felt) -> Row:
    """What the hand felt."""
    contacts = [[place, *contact.place, *contact.force] for place, contact in felt.contacts]
    return {
        "force": resample(felt.force).tolist(),
        "travel": resample(felt.travel).tolist(),
        "raw_force": felt.force.tolist(),
        "raw_travel": felt.travel.tolist(),
        "raw_pushed": felt.pushed.ravel().tolist(),
        "contacts": np.asarray(contacts, np.float32).ravel().tolist(),
    }


def _acted(table: Table, outcome: Outcome) -> Row:
    """What is true of the thing that was acted on."""
    place, elastic = outcome.acted, outcome.elastic
    scene, thing = table.scene, table.scene.things[place]
    return {
        "acted": thing.name,
        "acted_place": place,
        "shape": thing.form.name,
        "size": list(thing.form.size),
        "colour": list(thing.colour),
        "mass": scene.masses[place],
        "friction": thing.friction,
        "spinning": thing.spinning,
        "rolling": thing.rolling,
        "restitution": thing.restitution,
        "stiffness": scene.stiffnesses[place],
        "damping": thing.damping,
        "soft_mu": elastic.mu if elastic else 0.0,
        "soft_lambda": elastic.lame if elastic else 0.0,
        "soft_damping": elastic.damping if elastic else 0.0,
        "filled": thing.form.filled,
    }


def _drawn(table: Table) -> Row:
    """All that was drawn for the scene."""
    scene, light = table.scene, table.scene.light
    return {
        "things": [thing.name for thing in scene.things],
        "shapes": [thing.form.name for thing in scene.things],
        "masses": scene.masses,
        "frictions": [thing.friction for thing in scene.things],
        "stiffnesses": scene.stiffnesses,
        "textures": scene.textures,
        "distractors": scene.distractors,
        "table_friction": scene.table_friction,
        "table_colour": list(scene.table_colour),
        "table_texture": scene.table_texture,
        "gravity_tilt": list(scene.gravity_tilt),
        "light_direction": list(light.direction),
        "light_colour": list(light.colour),
        "light_ambient": light.ambient,
        "light_diffuse": light.diffuse,
        "light_shadow": light.shadow,
        "noise": scene.noise,
        "camera_matrix": scene.camera.matrix.ravel().tolist(),
        "camera_pose": scene.camera.pose.ravel().tolist(),
    }


def colour_bytes(pixels: Pixels, outputs: Outputs) -> bytes:
    """A colour picture as the data set keeps it."""
    return encode(pixels, ".jpg", outputs.quality) if outputs.quality else encode(pixels)


def _pictures(table: Table, outcome: Outcome, after: View, spec: Spec, index: int) -> Row:
    """All pictures, encoded; None for those that are not kept."""
    noise, view, felt = table.scene.noise, table.view, outcome.felt

    def coloured(seen: View, name: str) -> bytes:
        return colour_bytes(photograph(seen, noise, spec.seed, "noise", name, index), spec.outputs)

    def one(seen: Sequence[View], place: int) -> View | None:
        return seen[place] if len(seen) > place else None

    first, last = one(felt.wrist, 0), one(felt.wrist, 1)
    touches = [one(felt.tactile, 0), one(felt.tactile, 1)]
    film: bytes | None = None
    if felt.film:
        from embodied_ssl.sim.drive.kitti import mp4  # FFmpeg only where it is needed

        film = mp4(
            np.stack([photograph(seen, noise, spec.seed, "film", k, index) for k, seen in enumerate(felt.film)]),
            spec.outputs.video,
        )
    return {
        "before": coloured(view, "before"),
        "after": coloured(after, "after"),
        "depth_before": depth_png(view.depth),
        "depth_after": depth_png(after.depth),
        "things_before": things_png(view.ids),
        "things_after": things_png(after.ids),
        "deepest": None if outcome.deepest is None else coloured(outcome.deepest, "deepest"),
        "film": film,
        "wrist_before": None if first is None else coloured(first, "wrist before"),
        "wrist_after": None if last is None else coloured(last, "wrist after"),
        "tactile_first": None if touches[0] is None else depth_png(touches[0].depth),
        "tactile_second": None if touches[1] is None else depth_png(touches[1].depth),
    }
