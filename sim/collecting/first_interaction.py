"""One interaction of the first simulator, from its number to its row; `sim.interaction` takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType

from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.sim import grasp, poke, push
from embodied_ssl.sim.first_objects import Thing, thing
from embodied_ssl.sim.rows import TASKS, Row, depth_png, things_png
from embodied_ssl.sim.spec import Spec
from embodied_ssl.sim.table import Outcome, Table, set_table
from embodied_ssl.sim.world import View, shared_world

_ACTS: dict[str, ModuleType] = {"grasp": grasp, "push": push, "poke": poke}


@cache
def _thing(seed: int, number: int) -> Thing:
    return thing(seed, number)


def _row(index: int, task: str, table: Table, outcome: Outcome, before: Sequence[float], after: View) -> Row:
    acted, camera, view = table.things[outcome.acted], table.camera, table.view
    empty = {"grasp": [0.0] * 4, "push": [0.0] * 5, "poke": [0.0] * 4}
    return {
        "index": index,
        "task": TASKS.index(task),
        "acted": acted.name,
        "success": outcome.success,
        **empty,
        task: list(outcome.action),
        "force": outcome.force.tolist(),
        "travel": outcome.travel.tolist(),
        "mass": acted.mass,
        "friction": acted.friction,
        "stiffness": acted.stiffness,
        "damping": acted.damping,
        "shape": acted.shape.kind,
        "size": list(acted.shape.size),
        "colour": list(acted.colour),
        "acted_place": outcome.acted,
        "things": [each.name for each in table.things],
        "states_before": list(before),
        "states_after": table.states().ravel().tolist(),
        "table_friction": table.friction,
        "table_colour": list(table.table_colour),
        "light_direction": list(table.light.direction),
        "light_ambient": table.light.ambient,
        "light_diffuse": table.light.diffuse,
        "camera_matrix": camera.matrix.ravel().tolist(),
        "camera_pose": camera.pose.ravel().tolist(),
        "before": encode(view.rgb),
        "after": encode(after.rgb),
        "depth_before": depth_png(view.depth),
        "depth_after": depth_png(after.depth),
        "things_before": things_png(view.bodies),
        "things_after": things_png(after.bodies),
    }


def interaction(spec: Spec, index: int) -> Row:
    """Set a table, do one thing to it, and tell all about it; depends on nothing but its arguments.

    Args:
        spec: of the data set.
        index: which item; its task is ``tasks[index % len(tasks)]``.

    Raises:
        UserError: the first simulator has one robot and one renderer.
    """
    if (spec.robot, spec.renderer) != ("jaw", "tiny"):
        raise UserError(f"robot {spec.robot} with renderer {spec.renderer} is not there yet; give jaw and tiny")
    task = spec.tasks[index % len(spec.tasks)]
    rng = generator(spec.seed, "interaction", index)
    count = int(rng.integers(spec.things[0], spec.things[1] + 1))
    numbers = rng.permutation(spec.pool.objects)[:count]
    table = set_table(shared_world(), [_thing(spec.seed, int(number)) for number in numbers], rng, spec.size)
    before = table.states().ravel().tolist()
    outcome: Outcome = _ACTS[task].act(table, rng)
    table.settle()
    return _row(index, task, table, outcome, before, table.look())
