"""The robots there are, by the names that a specification gives them."""

from __future__ import annotations

from collections.abc import Callable

from embodied_ssl.errors import UserError, suggest
from embodied_ssl.sim.client import Client
from embodied_ssl.sim.robots.hand import Robot
from embodied_ssl.sim.robots.jaw import Jaw
from embodied_ssl.sim.robots.kuka import Kuka
from embodied_ssl.sim.robots.panda import Panda

ROBOTS: dict[str, Callable[[Client], Robot]] = {"jaw": Jaw, "panda": Panda, "kuka": Kuka}


def robot(name: str, client: Client) -> Robot:
    """The robot of this name, for one client.

    Raises:
        UserError: there is none.
    """
    if name not in ROBOTS:
        raise UserError(f"there is no robot '{name}'{suggest(name, ROBOTS)}; choose {', '.join(ROBOTS)}")
    return ROBOTS[name](client)
