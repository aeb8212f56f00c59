"""Ray makes the same data, if it is there."""

import importlib.util
import sys

import pytest
from made_up_rows import ask_for, made_up, spec_for

from embodied_ssl.errors import UserError
from embodied_ssl.sim.collecting import on_ray
from embodied_ssl.sim.collecting.collect import collect
from embodied_ssl.sim.collecting.on_ray import OnRay


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray, which is not installed; run: pip install 'embodied-ssl\[ray\]'"):
        on_ray.load_ray()


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_ray_makes_the_same_though_workers_die_and_hang(tmp_path):
    spec = spec_for(tmp_path / "troubles")
    wanted = collect(tmp_path / "wanted", spec, make=made_up).sha256
    ask_for(tmp_path / "troubles", "kill-9", "hang-17", "fail-21-always")
    summary = collect(tmp_path / "set", spec, OnRay(2, patience=4), make=made_up)
    assert (summary.made, summary.missing) == (20, 1)
    assert "interaction 21 failed (ZeroDivisionError: no ground)" in summary.left_out[0]["reason"]
    (tmp_path / "troubles" / "fail-21-always").unlink()
    assert collect(tmp_path / "set", spec, resume=True, make=made_up).sha256 == wanted
