"""Workers that die, hang, or meet what cannot be made: the data are the same, and what is missing is named."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_rows import ask_for, made_up, spec_for, telling_modules

from embodied_ssl.errors import UserError
from embodied_ssl.sim.collecting.collect import collect
from embodied_ssl.sim.collecting.engines import Processes, Serial
from embodied_ssl.sim.collecting.store import Manifest
from embodied_ssl.sim.rows import read_shard


class Said:
    """A progress that remembers."""

    def __init__(self):
        self.updates, self.lines = [], []

    def update(self, done, total, note=""):
        self.updates.append((done, total, note))

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def spec(tmp_path):
    return spec_for(tmp_path / "troubles")


@pytest.fixture
def wanted(tmp_path, spec):
    """The hash of the data set as one process makes it, undisturbed."""
    return collect(tmp_path / "wanted", spec, make=made_up).sha256


@pytest.mark.parametrize("engine", [Serial(), Processes(1, recycle=9), Processes(2)], ids=str)
def test_every_engine_makes_the_same(tmp_path, spec, wanted, engine):
    said = Said()
    summary = collect(tmp_path / "set", spec, engine, make=made_up, progress=said)
    assert summary.sha256 == wanted
    assert said.updates[0][:2] == (0, 24)
    assert said.updates[-1][:2] == (24, 24)
    assert [done for done, _, _ in said.updates].count(24) == 1
    assert "grasp" in said.updates[-1][2]
    assert said.lines == []


def test_a_worker_killed_on_the_way_is_replaced(tmp_path, spec, wanted):
    said = Said()
    ask_for(tmp_path / "troubles", "kill-9", "kill-17")
    summary = collect(tmp_path / "set", spec, Processes(2), make=made_up, progress=said)
    assert summary.sha256 == wanted
    assert summary.made == 24
    assert len(said.lines) == 2
    assert any("shard-00002.parquet (interactions 8 to 11)" in line and "SIGKILL" in line for line in said.lines)


def test_a_worker_that_hangs_is_replaced(tmp_path, spec, wanted):
    said = Said()
    ask_for(tmp_path / "troubles", "hang-9")
    assert collect(tmp_path / "set", spec, Processes(2, patience=3), make=made_up, progress=said).sha256 == wanted
    assert len(said.lines) == 1
    assert "it hung, silent for 3 s" in said.lines[0]


def test_an_interaction_that_kills_every_worker_is_named_and_everything_else_made(tmp_path, spec, wanted):
    ask_for(tmp_path / "troubles", "kill-9-always")
    summary = collect(tmp_path / "set", spec, Processes(2), make=made_up)
    assert (summary.made, summary.missing, summary.sha256) == (20, 1, "")
    (lost,) = summary.left_out
    assert lost["name"] == "shard-00002.parquet (interactions 8 to 11)"
    assert "interaction 9: killed by SIGKILL" in lost["reason"]
    (tmp_path / "troubles" / "kill-9-always").unlink()
    assert collect(tmp_path / "set", spec, resume=True, make=made_up).sha256 == wanted


def test_an_interaction_that_fails_is_named_and_everything_else_made(tmp_path, spec, wanted):
    said = Said()
    ask_for(tmp_path / "troubles", "fail-9-always")
    summary = collect(tmp_path / "set", spec, make=made_up, progress=said)
    assert (summary.made, summary.missing, summary.sha256) == (20, 1, "")
    (lost,) = summary.left_out
    assert lost["name"] == "shard-00002.parquet"
    assert lost["reason"] == "interaction 9 failed (ZeroDivisionError: no ground)"
    assert "in _trouble" in lost["trace"]
    assert said.lines == ["shard-00002.parquet is left out: interaction 9 failed (ZeroDivisionError: no ground)"]
    (tmp_path / "troubles" / "fail-9-always").unlink()
    assert collect(tmp_path / "set", spec, resume=True, make=made_up).sha256 == wanted


def test_when_everything_fails_it_ends(tmp_path):
    spec = spec_for(tmp_path / "troubles", episodes=400)
    ask_for(tmp_path / "troubles", *(f"fail-{index}-always" for index in range(400)))
    with pytest.raises(UserError, match=r"10 shards failed, the last shard-00009.parquet: interaction 36 failed"):
        collect(tmp_path / "set", spec, make=made_up)


def test_an_item_that_cannot_be_made_is_left_out_by_name(tmp_path, spec, wanted):
    ask_for(tmp_path / "troubles", "bad-9-always")
    summary = collect(tmp_path / "set", spec, make=made_up)
    assert (summary.total, summary.missing) == (23, 0)
    assert summary.left_out == [{"name": "interaction 9", "reason": "nothing can be reached"}]
    assert summary.sha256 not in ("", wanted)
    indices = read_shard(tmp_path / "set" / "shard-00002.parquet", ["index"])["index"].to_pylist()
    assert indices == [8, 10, 11]
    again = collect(tmp_path / "set", spec, resume=True, make=made_up)
    assert (again.made, again.sha256, again.left_out) == (0, summary.sha256, summary.left_out)


@pytest.mark.parametrize("engine", [Serial(), Processes(2)], ids=str)
def test_what_can_never_work_ends_it_at_once(tmp_path, spec, engine):
    ask_for(tmp_path / "troubles", "refuse-9-always")
    with pytest.raises(UserError, match="this robot has no hand"):
        collect(tmp_path / "set", spec, engine, make=made_up)


def test_a_worker_holds_little_and_no_torch(tmp_path, spec):
    collect(tmp_path / "set", replace(spec, episodes=1), Processes(1), make=telling_modules)
    (row,) = read_shard(tmp_path / "set" / "shard-00000.parquet").to_pylist()
    modules = set(row["shape"].split())
    assert "embodied_ssl.sim.rows" in modules
    assert not {"torch", "ray", "moderngl", "gymnasium", "trimesh"} & modules


def interrupted(script, out, number):
    """Start a script, interrupt it when two shards are there; its exit code and what it said."""
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while len(list(out.glob("shard-*"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal does
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def test_ctrl_c_keeps_finished_shards_and_says_how_to_go_on(tmp_path):
    spec, out = spec_for(tmp_path / "troubles", episodes=400), tmp_path / "set"
    script = tmp_path / "run.py"
    script.write_text(f"""
import signal
import sys
from functools import partial
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells that start tests in the background ignore it
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from made_up_rows import slowly, spec_for
from embodied_ssl import cli
from embodied_ssl.sim.collecting import collect as module
if __name__ == "__main__":
    module.collect = partial(module.collect, make=slowly)
    cli.main(["simulate", "--out", {str(out)!r}, "--episodes", "400", "--workers", "2", "--renderer", "tiny",
              "--set", "per_shard=4", "--set", "pool.folder={tmp_path / "troubles"}", "--resume"])
""")
    for number in (signal.SIGINT, signal.SIGTERM):
        code, said = interrupted(script, out, number)
        assert code == 130
        assert said.splitlines()[-1] == "interrupted; what was finished is kept, and --resume continues it"
        assert "Traceback" not in said
        listed = set(Manifest.load(out).pieces)
        assert listed == {path.name for path in out.glob("shard-*")}
        assert 2 <= len(listed) < 100
        assert not list(out.glob(".unfinished-*"))
        for path in sorted(out.glob("shard-*"))[1:]:  # so that the second one, too, has something to do
            path.unlink()
    assert collect(out, replace(spec, size=(128, 128)), Processes(2), resume=True, make=made_up).missing == 0
