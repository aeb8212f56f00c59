"""The only file that imports PyBullet: every call goes to one client by its number, so none can reach another by mistake.

PyBullet sends a call without a client's number to client 0, silently, whoever owns that one.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from embodied_ssl.errors import UserError

_AT_LARGE = {"connect", "disconnect", "isNumpyEnabled"}  # not sent to a client


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


def engine() -> str:
    """Name and version of the physics engine, for manifests."""
    return f"pybullet {importlib.metadata.version('pybullet')}"


def data_folder() -> Path:
    """Where PyBullet keeps the robots and things that come with it."""
    load_pybullet()
    import pybullet_data

    return Path(pybullet_data.getDataPath())


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


class Client:
    """PyBullet with a client's number added to every call: ``client.stepSimulation()``, ``client.GEOM_BOX``.

    Raises:
        UserError: PyBullet is absent, or has no client left.
    """

    def __init__(self) -> None:
        self._bullet = load_pybullet()
        self._number: int = self._bullet.connect(self._bullet.DIRECT)
        if self._number < 0:
            raise UserError("pybullet offers no further world; close one first, or use fewer in one process")

    def __getattr__(self, name: str) -> Any:
        """A function of PyBullet bound to this client, or a constant; looked up once."""
        if name.startswith("_") or name in _AT_LARGE:
            raise AttributeError(name)
        found = getattr(self._bullet, name)
        bound = partial(found, physicsClientId=self._number) if callable(found) else found
        self.__dict__[name] = bound
        return bound

    def empty(self, flags: int = 0) -> None:
        """Remove everything: the numbers of shapes and bodies mean nothing any more. ``flags`` are PyBullet's."""
        self.resetSimulation(flags)
        self.__dict__.pop("unseen", None)

    @cached_property
    def unseen(self) -> int:
        """A visual shape of one triangle, for bodies that PyBullet never draws.

        One without a visual shape is given the outline of what it touches: for something round, a hull that takes three times as
        long as all else that is done to make a body.
        """
        triangle = ((0, 0, 0), (1e-3, 0, 0), (0, 1e-3, 0))
        made: int = self.createVisualShape(self.GEOM_MESH, vertices=triangle, indices=(0, 1, 2))
        return made

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """For calls that print from C, such as loading files with warnings."""
        with _quiet():
            yield

    def close(self) -> None:
        """Give the client back; it is of no use afterwards."""
        if self._number >= 0:
            self._bullet.disconnect(physicsClientId=self._number)
            self._number = -1
