"""Mesa's LLVM and Triton's in one process, in either order: pictures, then training, then pictures."""

import importlib.util
import subprocess
import sys

import pytest

DRAW = (
    "import numpy as np\nfrom embodied_ssl.sim import solids\nfrom embodied_ssl.sim.camera import Camera, Light\n"
    "from embodied_ssl.sim.render.choose import open_renderer\nfrom embodied_ssl.sim.render.renderer import Drawn\n"
    "camera = Camera((0, 0, 1), (0, 0, 0), (0, 1, 0), 32, 32)\nrenderer = open_renderer('gl')\n"
    "draw = lambda: renderer.look([Drawn(solids.sphere(0.1), np.eye(4))], camera, Light()).rgb\nfirst = draw()\n"
)
TRAIN = "import torch\ntorch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1).step()\nimport triton\n"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="torch came without Triton")
@pytest.mark.parametrize("first", ["pictures", "training"])
def test_pictures_and_training_live_in_one_process(first):
    code = DRAW + TRAIN if first == "pictures" else TRAIN + DRAW
    done = subprocess.run([sys.executable, "-c", code + "assert (draw() == first).all()"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or done.returncode
