"""The same data whoever makes it, in whatever order, however often it is killed; here with the real simulator."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.datasets.io.pictures import decode
from embodied_ssl.sim import rows
from embodied_ssl.sim.collecting import collect as module
from embodied_ssl.sim.collecting.collect import collect, content_hash, interaction
from embodied_ssl.sim.collecting.collect import rows as rows_of
from embodied_ssl.sim.collecting.command import resolved
from embodied_ssl.sim.collecting.engines import Processes
from embodied_ssl.sim.collecting.identity import spec_in
from embodied_ssl.sim.schema import TASKS
from embodied_ssl.sim.spec import Pool, Randomise, Spec

SPEC = Spec(episodes=10, size=(32, 32), per_shard=4, seed=5, renderer=resolved("auto"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "set"
    return out, collect(out, SPEC)


def test_an_item_depends_on_neither_order_nor_what_came_before():
    forward = list(rows_of(SPEC, range(9)))
    assert [interaction(SPEC, index) for index in reversed(range(9))] == forward[::-1]


def test_an_item_is_the_same_in_a_new_process():
    code = f"""
import hashlib
from embodied_ssl.sim.collecting.collect import interaction
from embodied_ssl.sim.spec import Pool, Outputs, Randomise, Spec
print(hashlib.sha256(repr(interaction({SPEC!r}, 6)).encode()).hexdigest())
"""
    interaction(SPEC, 3)
    here = hashlib.sha256(repr(interaction(SPEC, 6)).encode()).hexdigest()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1] == here


def test_two_workers_make_what_one_makes(made, tmp_path):
    summary = collect(tmp_path / "two", SPEC, Processes(2))
    assert summary.sha256 == made[1].sha256 == content_hash(tmp_path / "two")
    assert (summary.total, summary.made, summary.missing, summary.left_out) == (10, 10, 0, [])
    for path in made[0].glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_rows_hold_what_they_should(made):
    out, summary = made
    table = rows.read_shard(out / "shard-00000.parquet").to_pylist()
    assert [row["index"] for row in table] == [0, 1, 2, 3]
    assert [TASKS[row["task"]] for row in table] == ["grasp", "push", "poke", "grasp"]
    for row in table:
        task = TASKS[row["task"]]
        assert all((np.array(row[name]) == 0).all() for name in SPEC.tasks if name != task)
        assert decode(row["before"], "").shape == (32, 32, 3)
        depth = rows.grey_pixels(row["depth_before"]) * rows.DEPTH_UNIT
        camera = np.array(row["camera_pose"]).reshape(4, 4)
        assert depth.shape == (32, 32)
        assert abs(depth.max() - camera[2, 3]) < 0.05
        places = rows.grey_pixels(row["things_before"])
        assert set(np.unique(places)) <= {*range(len(row["things"])), rows.NOTHING}
        assert row["things"][row["acted_place"]] == row["acted"]
        assert len(row["states_before"]) == len(row["states_after"]) == 7 * len(row["things"])
        assert len(row["force"]) == 64
    assert summary.total == summary.made == 10


def kill_when(true, script):
    """Run a script in a process that is killed with -9 as soon as something is so; whether it was still at work."""
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    while process.poll() is None and not true():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def script_of(tmp_path, out, spec, workers):
    script = tmp_path / "run.py"
    script.write_text(f"""
from pathlib import Path
from embodied_ssl.sim.collecting.collect import collect
from embodied_ssl.sim.collecting.command import resolved
from embodied_ssl.sim.collecting.engines import Processes
from embodied_ssl.sim.spec import Outputs, Pool, Randomise, Spec
if __name__ == "__main__":
    collect(Path({str(out)!r}), {spec!r}, Processes({workers}), resume=True)
""")
    return script


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_is_resumed_to_the_same_data(tmp_path, workers):
    out, spec = tmp_path / "set", replace(SPEC, episodes=60, per_shard=5)
    assert kill_when(lambda: len(list(out.glob("shard-*"))) > workers, script_of(tmp_path, out, spec, workers))
    summary = collect(out, spec, resume=True)
    assert 0 < summary.made < 60
    assert summary.sha256 == collect(tmp_path / "whole", spec).sha256


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(tmp_path):
    out, spec = tmp_path / "set", replace(SPEC, episodes=600, per_shard=5)
    script, rng, killed = script_of(tmp_path, out, spec, 2), np.random.default_rng(0), 0
    for _ in range(10):
        end = time.monotonic() + rng.uniform(0.5, 3.0)  # starting up takes about a second
        killed += kill_when(lambda end=end: time.monotonic() > end, script)
    summary = collect(out, spec, Processes(2), resume=True)
    assert killed == 10
    assert summary.sha256 == collect(tmp_path / "whole", spec).sha256


def test_importing_it_imports_neither_torch_nor_engines():
    names = [f"embodied_ssl.sim.collecting.{path.stem}" for path in Path(module.__file__).parent.glob("*.py")]
    assert len(names) > 8
    code = "import sys\n" + "".join(f"import {name}\n" for name in names)
    code += "sys.exit(any(name.split('.')[0] in ('torch', 'pybullet', 'ray') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONWARNINGS": ""}).returncode == 0


def test_the_manifest_says_what_made_it(made):
    body = json.loads((made[0] / "manifest.json").read_text())
    assert body["spec"]["engine"].startswith("pybullet 3.2")
    assert body["spec"]["drawn_by"]
    assert body["spec_hash"]
    assert body["sha256"] == made[1].sha256
    facts = body["pieces"]["shard-00001.parquet"]
    assert (facts["start"], facts["stop"], facts["rows"]) == (4, 8, 4)
    assert facts["success"]["push"][0] == 2
    assert facts["cpu_s"] > 0
    assert facts["versions"]["numpy"] == np.__version__
    assert not (made[0] / "facts").exists()


def test_a_specification_comes_back_from_its_manifest(made):
    assert spec_in(json.loads((made[0] / "manifest.json").read_text())["spec"]) == SPEC
    odd = Spec(pool=Pool(kinds=("own",), folder="/mugs"), randomise=Randomise(distractors=(1, 2)), tasks=("poke",))
    assert spec_in(json.loads(json.dumps(asdict(odd)))) == odd
