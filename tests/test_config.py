"""Configs: overriding by type, one-line complaints, storing and rebuilding without running what is stored."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from embodied_ssl import config
from embodied_ssl.config import Run, differences, from_json, load, override, parse, to_json, with_types_of_today
from embodied_ssl.errors import UserError

RUN = load("simclr_photos")[0]
SEVERAL = load("multi_task")[0]

CONFIG = """
from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.rotation import RotationConfig
run = Run(method=RotationConfig(size=32), data=PictureFolder(), steps=7)
"""


def reached(run: Run, key: str) -> object:
    node: object = run
    for part in key.split("."):
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return node


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("steps=12", 12),
        ("clip=1", 1.0),
        ("optimizer.rate=2e-4", 2e-4),
        ("compile=True", True),
        ("compile=false", False),
        ("data.root=/a/b=c,d", "/a/b=c,d"),
        ("data.root=", ""),
        ("precision=bf16", "bf16"),
        ("optimizer.betas=0.8,0.9", (0.8, 0.9)),
        ("optimizer.betas=(0.8, 0.9)", (0.8, 0.9)),
        ("schedule.drops=0.5", (0.5,)),
        ("schedule.drops=0.1,0.2,0.3", (0.1, 0.2, 0.3)),
        ("method.colour.hue=0.2", 0.2),
        ("backbone.stem=small", "small"),
        (" steps = 12 ", 12),
    ],
)
def test_a_setting_is_read_as_its_fields_type(assignment: str, value: object) -> None:
    found = reached(override(RUN, assignment), assignment.partition("=")[0].strip())
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("data.rotation.root=/photos", "/photos"),
        ("method.tasks.simclr.weight=0.25", 0.25),
        ("method.tasks.simclr.method.colour.grey=1", 1.0),
        ("data.interaction.tasks=push,poke", ("push", "poke")),
        ("method.grey=true", True),
    ],
)
def test_settings_lie_inside_mappings_too(assignment: str, value: object) -> None:
    assert reached(override(SEVERAL, assignment), assignment.partition("=")[0]) == value


def test_only_what_was_named_changes() -> None:
    changed = override(SEVERAL, "data.rotation.root=/photos")
    assert differences(to_json(SEVERAL), to_json(changed)) == ['data.rotation.root: "" -> "/photos"']


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("step=3", "no setting 'step' in 'step', did you mean 'steps'?"),
        ("optimizer.rat=3", "no setting 'rat' in 'optimizer.rat', did you mean 'rate'?"),
        ("optimiser.rate=3", "no setting 'optimiser' in 'optimiser.rate', did you mean 'optimizer'?"),
        ("zzz=1", "no setting 'zzz' in 'zzz'; there is accumulate, backbone, batch_size"),
        ("=1", "no setting '' in ''"),
        ("steps", "--set takes key=value, not 'steps'"),
        ("steps=many", "steps=many is not accepted; give a whole number"),
        ("steps=1.5", "steps=1.5 is not accepted; give a whole number"),
        ("clip=high", "clip=high is not accepted; give a number"),
        ("compile=yes", "compile=yes is not accepted; give true or false"),
        ("precision=bf61", "precision=bf61 is not accepted, did you mean 'bf16'?"),
        ("optimizer.betas=0.9", "optimizer.betas=0.9 needs 2 values with commas between them"),
        ("optimizer.betas=0.9,x", "optimizer.betas=x is not accepted; give a number"),
        ("optimizer=SGD", "'optimizer' is a group; set one of its fields, such as optimizer.rate=..."),
        ("steps.more=1", "'steps' in 'steps.more' is a single value; it has no 'more'"),
        ("steps=0", "steps is 0; give a whole number of at least 1"),
        ("batch_size=-2", "batch_size is -2; give a whole number of at least 1"),
        ("method.temperature=0", "temperature is 0.0; give a number above 0"),
    ],
)
def test_a_bad_setting_is_one_line_that_says_what_to_give(assignment: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        override(RUN, assignment)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("data.rotaton.root=x", "no 'rotaton' in 'data.rotaton.root', did you mean 'rotation'?"),
        ("data.rotation=x", "'data.rotation' is a group; set one of its fields, such as data.rotation.root=..."),
        ("data=x", "'data' is a group; set one of its fields, such as data.rotation=..."),
        ("method.tasks.simclr.method.siz=3", "no setting 'siz'"),
    ],
)
def test_a_bad_setting_inside_a_mapping_is_said_too(assignment: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        override(SEVERAL, assignment)
    assert str(caught.value).startswith(message)


def test_numbers_that_are_not_finite_are_refused() -> None:
    for text in ("nan", "inf", "-inf"):
        with pytest.raises(UserError, match=f"optimizer.rate={text} is not accepted; give a number"):
            override(RUN, f"optimizer.rate={text}")


def test_a_type_that_cannot_be_typed_in_is_said() -> None:
    with pytest.raises(UserError, match="key=3 is not accepted"):
        parse("3", int | None, "key")


# --- stored and rebuilt -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", config.names())
def test_what_is_stored_is_rebuilt(name: str) -> None:
    run = load(name)[0]
    assert from_json(json.loads(json.dumps(to_json(run)))) == run


@pytest.mark.parametrize(
    "kind",
    [
        "os:system",
        "subprocess:run",
        "embodied_ssl_evil:Run",
        "embodied_ssl:__import__",
        "embodied_ssl.config.os:system",
        "embodied_ssl.__main__:main",
        "embodied_ssl..os:system",
        "",
        ":",
    ],
)
def test_nothing_outside_the_package_is_called(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[str] = []
    monkeypatch.setattr(os, "system", marks.append)
    with pytest.raises(UserError, match="this run was made with"):
        from_json({"type": kind, "command": "touch mark"})
    assert marks == []


def test_only_config_classes_are_called_not_functions_of_the_package(tmp_path: Path) -> None:
    stored = {"type": "embodied_ssl.files:write_json", "path": {"type": "embodied_ssl.files:Path"}, "value": 1}
    with pytest.raises(UserError, match=r"this run was made with embodied_ssl\.files:"):
        from_json(stored)
    with pytest.raises(UserError, match=r"this run was made with embodied_ssl\.config:load"):
        from_json({"type": "embodied_ssl.config:load", "given": str(tmp_path / "any.py")})


@pytest.mark.parametrize(
    "stored",
    [
        {"type": "embodied_ssl.optim:Adam", "rate": 1.0},
        {"type": "embodied_ssl.nowhere:SGD"},
        {"type": "embodied_ssl.optim:SGD", "speed": 1.0},
    ],
)
def test_what_this_version_no_longer_has_is_said(stored: dict[str, object]) -> None:
    with pytest.raises(UserError, match="which this version cannot rebuild"):
        from_json(stored)


def test_differences_name_keys_and_values() -> None:
    other = replace(RUN, steps=9, optimizer=replace(RUN.optimizer, rate=0.5))  # type: ignore[type-var]
    assert differences(to_json(RUN), to_json(other)) == ["optimizer.rate: 0.0015 -> 0.5", "steps: 500 -> 9"]
    assert differences(to_json(RUN), to_json(RUN)) == []


def test_every_setting_is_printed() -> None:
    lines = config.describe(SEVERAL)
    assert "      colour: ColourChange" in "\n".join(lines)
    assert "batch_size: 64" in lines
    assert any(line.strip() == "root: -" for line in lines)


# --- loading ----------------------------------------------------------------------------------------------------------


def test_a_bare_name_and_a_path_load(tmp_path: Path) -> None:
    (tmp_path / "mine_a.py").write_text(CONFIG)
    assert load(str(tmp_path / "mine_a.py"))[0].steps == 7
    assert load("rotation_photos")[0].steps == 600


def test_a_list_of_runs_is_its_stages(tmp_path: Path) -> None:
    (tmp_path / "mine_b.py").write_text(CONFIG + "from dataclasses import replace\nrun = [run, replace(run, steps=9)]\n")
    assert [stage.steps for stage in load(str(tmp_path / "mine_b.py"))] == [7, 9]


def test_a_config_may_import_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine_base.py").write_text(CONFIG)
    (tmp_path / "mine_c.py").write_text(
        "from dataclasses import replace\nfrom mine_base import run\nrun = replace(run, steps=8)\n"
    )
    assert load(str(tmp_path / "mine_c.py"))[0].steps == 8


def test_files_beside_a_config_do_not_hide_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('hidden')")
    (tmp_path / "mine_d.py").write_text("import colorsys\n" + CONFIG)
    assert load(str(tmp_path / "mine_d.py"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"must define `run`, an embodied_ssl.config.Run or a list of them"),
        ("run = 3", r"must define `run`"),
        ("run = []", r"must define `run`"),
        (CONFIG + "run = [run, None]", r"must define `run`"),
        ("run = (", r"cannot be read: SyntaxError: .*line 1"),
        ("import nowhere_to_be_found", r"cannot be read: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (CONFIG.replace("steps=7", "steps=0"), r"^steps is 0"),
    ],
)
def test_a_config_that_does_not_work_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine_e.py").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load(str(tmp_path / "mine_e.py"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rotation_photo", "no config 'rotation_photo', did you mean 'rotation_photos'?; or give the path of a .py file"),
        ("/nowhere/x.py", "no config file '/nowhere/x.py'; give a path that exists or one of"),
        ("nowhere.py", "no config file 'nowhere.py'"),
        ("/etc/hostname", "config '/etc/hostname' is not a Python file"),
    ],
)
def test_a_config_that_is_not_there_is_said(given: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(given)
    assert str(caught.value).startswith(message)


def test_a_class_that_was_moved_is_found_under_its_new_name() -> None:
    # BackboneConfig lay in embodied_ssl/backbones.py when the first runs were stored; they can still be resumed.
    stored = [{"type": "embodied_ssl.backbones:BackboneConfig", "name": "conv4", "gone": {"type": "embodied_ssl.gone:Gone"}}]
    today = with_types_of_today(stored)
    assert today == [{**stored[0], "type": "embodied_ssl.backbones.config:BackboneConfig"}]
    assert with_types_of_today(today) == today
