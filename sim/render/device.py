"""The process's one OpenGL context: made without a window, never carried over a fork, used by the thread that made it."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embodied_ssl.errors import UserError
from embodied_ssl.sim.render.llvm import keep_apart

_LIBRARIES = ("libEGL.so.1", "libGL.so.1")
_VERSION = 430  # many meshes by one call
_COLOUR, _DEPTH = 0x1800, 0x1801  # GL_COLOR, GL_DEPTH
_FLOATS, _NUMBERS = ctypes.c_float * 4, ctypes.c_int * 4
_FARTHEST = _FLOATS(1.0)
_MEND = "on Debian: apt-get install -y libegl1 libgl1 libgl1-mesa-dri"

_opened: Device | None = None


def device() -> Device:
    """The process's context, made when it is first asked for.

    Raises:
        UserError: moderngl or EGL is missing, or the driver is too old (says what to install), or it was made by another process
            or thread.
    """
    global _opened
    if _opened is None:
        _opened = Device()
    _opened.enter()
    return _opened


class Device:
    """An OpenGL context on EGL.

    Attributes:
        context: moderngl's.
        name: what draws, in the driver's words.
        process: number of the process that made it.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self._thread = threading.get_ident()
        self.context = _context()
        self.name = str(self.context.info["GL_RENDERER"])
        self._clear_floats = _function("glClearBufferfv", ctypes.c_float)
        self._clear_numbers = _function("glClearBufferiv", ctypes.c_int)

    def enter(self) -> None:
        """Make ready for calls.

        Raises:
            UserError: this is another process or thread than that which made the context.
        """
        if os.getpid() != self.process:
            raise UserError(
                "OpenGL was opened before this process was forked from its parent, and does not survive that; "
                "start workers by spawn, or open renderers in workers only"
            )
        if threading.get_ident() != self._thread:
            raise UserError("OpenGL draws only in the thread that opened it first; use processes instead of threads")
        self.context.__enter__()

    # moderngl clears all buffers to one colour, which OpenGL leaves undefined where one holds whole numbers.

    def clear_floats(self, buffer: int, colour: tuple[float, float, float, float]) -> None:
        """Fill a buffer of floats or shares of 255 of the framebuffer in use."""
        self._clear_floats(_COLOUR, buffer, _FLOATS(*colour))

    def clear_numbers(self, buffer: int, value: int) -> None:
        """Fill a buffer of whole numbers of the framebuffer in use."""
        self._clear_numbers(_COLOUR, buffer, _NUMBERS(value))

    def clear_depth(self) -> None:
        """Forget what is in front, in the framebuffer in use."""
        self._clear_floats(_DEPTH, 0, _FARTHEST)


def _context() -> Any:
    try:
        import moderngl
    except ImportError:
        raise UserError("the OpenGL renderer needs moderngl, which is not installed; run: pip install moderngl") from None
    try:
        for library in _LIBRARIES:
            ctypes.CDLL(library)
    except OSError as error:
        raise UserError(f"the OpenGL renderer finds no {str(error).split(':')[0]}; {_MEND}") from None
    keep_apart()
    with _few_threads():
        try:
            # Naming the libraries saves moderngl from searching for them by running a compiler.
            asked: Any = {"backend": "egl", "libegl": _LIBRARIES[0], "libgl": _LIBRARIES[1]}
            return moderngl.create_context(require=_VERSION, standalone=True, **asked)
        except Exception as error:  # moderngl raises bare Exceptions
            raise UserError(f"EGL makes no OpenGL {_VERSION / 100:.1f} context ({error}); {_MEND}, or the GPU's driver") from None


@contextmanager
def _few_threads() -> Iterator[None]:
    """Mesa's software rasteriser starts no threads, unless the user has said how many; it reads this once, when it starts."""
    given = os.environ.get("LP_NUM_THREADS")
    os.environ["LP_NUM_THREADS"] = "0" if given is None else given
    try:
        yield
    finally:
        if given is None:
            del os.environ["LP_NUM_THREADS"]


def _function(name: str, kind: type[ctypes.c_float | ctypes.c_int]) -> Any:
    """A function of OpenGL that moderngl does not offer, of a buffer's kind and number and four values."""
    library = ctypes.CDLL(_LIBRARIES[0])
    library.eglGetProcAddress.restype = ctypes.c_void_p
    return ctypes.CFUNCTYPE(None, ctypes.c_uint, ctypes.c_int, ctypes.POINTER(kind))(library.eglGetProcAddress(name.encode()))
