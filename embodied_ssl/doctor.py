"""Is everything here that the toolkit needs? One line a thing, with the command that mends it."""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.metadata
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import Any

PACKAGES = {
    "torch": "pip install torch",
    "torchvision": "pip install torchvision",
    "av": "pip install av",
    "cv2": "pip install opencv-python; on Debian also: apt-get install -y libgl1 libglib2.0-0",
    "sklearn": "pip install scikit-learn",
    "pyarrow": "pip install pyarrow",
}
OPTIONAL = {
    "decord": "a second video decoder; has wheels for x86-64 Linux and Windows only",
    "timm": "more backbones; pip install timm",
    "moderngl": "draws the simulator's pictures, ten times faster than PyBullet; pip install moderngl",
}
LIBRARIES = {"GL": "libgl1", "glib-2.0": "libglib2.0-0", "EGL": "libegl1"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``state`` is ``ok``, ``missing`` (something will not work) or ``optional`` (can do without)."""

    name: str
    state: str
    detail: str

    def line(self) -> str:
        return f"{self.state:9}{self.name:18}{self.detail}"


def examine() -> list[Finding]:
    """Look at packages, system libraries, the simulator, the GPU and the disk."""
    found = [Finding("python", "ok" if sys.version_info >= (3, 11) else "missing", sys.version.split()[0])]
    found += [_package(name, mend, "missing") for name, mend in PACKAGES.items()]
    found += [_package(name, mend, "optional") for name, mend in OPTIONAL.items()]
    absent = [package for library, package in LIBRARIES.items() if ctypes.util.find_library(library) is None]
    detail = f"apt-get install -y {' '.join(absent)}" if absent else ", ".join(LIBRARIES.values())
    found.append(Finding("system libraries", "optional" if absent else "ok", detail))
    found += [_torchcodec(), _bullet_numpy(), _renderer(), _gpu()]
    free = shutil.disk_usage(os.getcwd()).free / 2**30
    found.append(Finding("disk", "ok" if free > 2 else "missing", f"{free:.0f} GiB free here"))
    return found


def as_json(found: list[Finding]) -> list[dict[str, Any]]:
    """What was found, JSON-ready."""
    return [asdict(one) for one in found]


def _package(name: str, mend: str, otherwise: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken library can raise anything on import
        return Finding(name, otherwise, f"{mend} ({type(error).__name__}: {error})".split("\n")[0])
    return Finding(name, "ok", str(getattr(module, "__version__", "") or _version(name)))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _torchcodec() -> Finding:
    from embodied_ssl.datasets.io.video import backend
    from embodied_ssl.errors import UserError

    try:
        backend("torchcodec")  # it may import and still lack FFmpeg
    except UserError as error:
        return Finding("torchcodec", "optional", f"a third video decoder; {error}")
    return Finding("torchcodec", "ok", _version("torchcodec"))


def _bullet_numpy() -> Finding:
    from embodied_ssl.errors import UserError
    from embodied_ssl.sim.client import Client

    try:
        Client().close()
    except UserError as error:
        return Finding("simulator", "optional", str(error))
    return Finding("simulator", "ok", "starts, with numpy")


def _renderer() -> Finding:
    """Which of the two draws the simulator's pictures."""
    from embodied_ssl.errors import UserError
    from embodied_ssl.sim.render.gl import GlRenderer

    try:
        return Finding("renderer", "ok", f"OpenGL on {GlRenderer().device}")
    except UserError as error:
        return Finding("renderer", "optional", f"PyBullet's TinyRenderer; for OpenGL: {error}")


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("gpu", "optional", "none seen by torch; everything runs on the CPU")
    return Finding("gpu", "ok", torch.cuda.get_device_name())
