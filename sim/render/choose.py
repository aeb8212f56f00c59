"""Opens a renderer by name, and keeps one for a process."""

from __future__ import annotations

import os
import sys

from embodied_ssl.errors import UserError, suggest
from embodied_ssl.sim.render.renderer import Renderer

NAMES = ("auto", "gl", "tiny")

_kept: dict[tuple[int, str], Renderer] = {}


def open_renderer(name: str = "auto") -> Renderer:
    """Open a renderer.

    Args:
        name: "gl" for OpenGL, "tiny" for PyBullet's own, or "auto" for OpenGL where it is to be had and else PyBullet's, which is
            said in one line with what to install.

    Raises:
        UserError: no such name, or what it needs is missing.
    """
    if name not in NAMES:
        raise UserError(f"no renderer '{name}'{suggest(name, NAMES)}")
    if name == "tiny":
        return _tiny()
    from embodied_ssl.sim.render.gl import GlRenderer

    try:
        return GlRenderer()
    except UserError as error:
        if name == "gl":
            raise
        sys.stderr.write(f"pictures are drawn by PyBullet's TinyRenderer, ten times slower than by OpenGL: {error}\n")
        return _tiny()


def process_renderer(name: str = "auto") -> Renderer:
    """The renderer that this process keeps under a name, opened when it is first asked for; a forked child opens its own.

    Raises:
        UserError: no such name, or what it needs is missing.
    """
    process = os.getpid()
    if (process, name) not in _kept:
        found = _kept.get((process, "gl")) if name == "auto" else None
        found = found or open_renderer(name)
        _kept[process, name] = found
        _kept.setdefault((process, found.name), found)
    return _kept[process, name]


def _tiny() -> Renderer:
    from embodied_ssl.sim.render.tiny import TinyRenderer

    return TinyRenderer()
