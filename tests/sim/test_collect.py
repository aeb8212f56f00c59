"""The same data whoever makes it, in whatever order, however often it is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from embodied_ssl.datasets.io.pictures import decode
from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY
from embodied_ssl.sim import collect as module
from embodied_ssl.sim import rows
from embodied_ssl.sim.collect import Settings, collect, content_hash, interaction
from embodied_ssl.sim.store import Manifest

SMALL = {"episodes": 10, "size": (32, 32), "per_shard": 4, "seed": 5}
SETTINGS = Settings(size=(32, 32))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "set"
    return out, collect(out, **SMALL)


def test_an_item_depends_on_neither_order_nor_what_came_before():
    forward = [interaction(1, index, rows.TASKS, SETTINGS) for index in range(9)]
    assert [interaction(1, index, rows.TASKS, SETTINGS) for index in reversed(range(9))] == forward[::-1]


def test_an_item_is_the_same_in_a_new_process():
    code = """
import hashlib, json
from embodied_ssl.sim.collect import Settings, interaction
row = interaction(1, 6, ("grasp", "push", "poke"), Settings(size=(32, 32)))
print(hashlib.sha256(repr(row).encode()).hexdigest())
"""
    interaction(1, 3, rows.TASKS, SETTINGS)
    import hashlib

    here = hashlib.sha256(repr(interaction(1, 6, rows.TASKS, SETTINGS)).encode()).hexdigest()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1] == here


def test_two_workers_make_what_one_makes(made, tmp_path):
    done = []
    summary = collect(tmp_path / "two", **SMALL, workers=2, on_progress=lambda *numbers: done.append(numbers))
    assert summary.sha256 == made[1].sha256 == content_hash(tmp_path / "two")
    assert done[0] == (0, 10)
    assert done[-1] == (10, 10)


def test_rows_hold_what_they_should(made):
    out, summary = made
    table = rows.read_shard(out / "shard-00000.parquet").to_pylist()
    assert [row["index"] for row in table] == [0, 1, 2, 3]
    assert [rows.TASKS[row["task"]] for row in table] == ["grasp", "push", "poke", "grasp"]
    for row in table:
        task = rows.TASKS[row["task"]]
        assert all((np.array(row[name]) == 0).all() for name in rows.TASKS if name != task)
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


def test_a_lost_and_a_spoilt_shard_are_made_again(made, tmp_path):
    out = tmp_path / "set"
    first = collect(out, **SMALL)
    (out / "shard-00001.parquet").unlink()
    (out / "shard-00002.parquet").write_bytes(b"spoilt")
    (out / f"{TEMPORARY}123-shard-00001.parquet").write_bytes(b"half")
    again = collect(out, **SMALL, resume=True)
    assert again.made == 6
    assert again.sha256 == first.sha256 == content_hash(out)
    assert not list(out.glob(f"{TEMPORARY}*"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_is_resumed_to_the_same_data(tmp_path, workers):
    out, request = tmp_path / "set", {"episodes": 60, "size": (32, 32), "per_shard": 5}
    code = f"""
from pathlib import Path
from embodied_ssl.sim.collect import collect
if __name__ == "__main__":
    collect(Path({str(out)!r}), **{request!r}, workers={workers})
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    while not list(out.glob("shard-*")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    summary = collect(out, **request, resume=True)
    assert summary.sha256 == collect(tmp_path / "whole", **request).sha256


def test_an_interrupt_leaves_finished_shards(tmp_path, made):
    def stop(done, total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "set", **SMALL, on_progress=stop)
    assert list(Manifest.load(tmp_path / "set").pieces) == ["shard-00000.parquet"]
    assert collect(tmp_path / "set", **SMALL, resume=True).made == 6
    assert content_hash(tmp_path / "set") == made[1].sha256


def test_a_failure_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("no ground")

    monkeypatch.setattr(module, "interaction", fail)
    with pytest.raises(RuntimeError, match="interaction 0 of seed 5 failed: no ground"):
        collect(tmp_path / "set", **SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": 0}, "--episodes is 0; give 1 or more"),
        ({"tasks": ("grap",)}, "no task 'grap', did you mean 'grasp'?"),
        ({"tasks": ()}, "no task was given"),
        ({"tasks": ("poke", "poke")}, "named twice"),
        ({"size": (4, 4)}, "--size is 4 x 4"),
        ({"objects": 2}, "pool of 2"),
    ],
)
def test_requests_that_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        collect(tmp_path / "set", **{**SMALL, **change})
    assert not (tmp_path / "set").exists()


def test_folders_that_are_refused(tmp_path, made):
    out, _ = made
    with pytest.raises(UserError, match="already holds a data set; pass --resume to continue or choose another --out"):
        collect(out, **SMALL)
    with pytest.raises(UserError, match="seed 5 there, 6 now"):
        collect(out, **{**SMALL, "seed": 6}, resume=True)
    with pytest.raises(UserError, match=r"size \[32, 32\] there, \[64, 64\] now"):
        collect(out, **{**SMALL, "size": (64, 64)}, resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UserError, match="is not empty"):
            collect(tmp_path, **SMALL, resume=resume)
    with pytest.raises(UserError, match=r"cannot write to .*Not a directory"):
        collect(tmp_path / "notes.txt" / "set", **SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    write = module.write_shard

    def full(path, made_rows):
        if "00001" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, made_rows)

    monkeypatch.setattr(module, "write_shard", full)
    with pytest.raises(UserError, match=r"No space left on device.*1 finished pieces are kept.*--resume"):
        collect(tmp_path / "set", **SMALL)
    monkeypatch.undo()
    assert collect(tmp_path / "set", **SMALL, resume=True).made == 6


def test_nothing_imports_torch():
    names = sorted(path.stem for path in (module.Path(module.__file__).parent).glob("*.py"))
    code = "import sys\n" + "".join(f"import embodied_ssl.sim.{name}\n" for name in names)
    code += "sys.exit(any(name.split('.')[0] in ('torch', 'pybullet') for name in sys.modules))"
    assert len(names) > 10
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONWARNINGS": ""}).returncode == 0


def test_the_manifest_says_what_made_it(made):
    body = json.loads((made[0] / "manifest.json").read_text())
    assert body["spec"]["engine"].startswith("pybullet 3.2")
    assert body["spec"]["rate"] == 240
    assert body["spec_hash"]
