"""LeRobot exports, loaded by the real lerobot package in an environment of its own: ``make lerobot`` builds it and runs this."""

import os
import subprocess
from pathlib import Path

import pytest
from made_up_interactions import make

from embodied_ssl.sim.collecting.collect import collect
from embodied_ssl.sim.export.exporting import choices, export
from embodied_ssl.sim.schema import TASKS
from embodied_ssl.sim.spec import Outputs, Spec

ROOT = Path(__file__).resolve().parents[2]
THEIRS = os.environ.get("EMBODIED_SSL_LEROBOT", "")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not THEIRS, reason="needs lerobot's own environment: make lerobot")]


@pytest.mark.parametrize("what", ["simulated", "simulated films", "made up", "made up films"])
def test_lerobot_loads_every_field_and_picture(what, tmp_path):
    if what.startswith("simulated"):
        outputs = Outputs(video=24, wrist=True, tactile=True) if what.endswith("films") else Outputs()
        collect(tmp_path / "native", Spec(tasks=TASKS, episodes=24, size=(64, 96), renderer="tiny", outputs=outputs))
    else:
        make(tmp_path / "native", 14, films=what.endswith("films"))
    outs = [tmp_path / "video", tmp_path / "image"]
    for out in outs:
        export(tmp_path / "native", out, "lerobot", choices("lerobot", pictures=out.name))
    command = [ROOT / THEIRS, "-W", "ignore", ROOT / "scripts" / "check_lerobot.py", tmp_path / "native", *outs]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("as in the native rows") == 2
    print(done.stdout)  # what is said of both
