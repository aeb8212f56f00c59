"""Which reader reads a folder, and how a run is told to use another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from embodied_ssl import config
from embodied_ssl.datasets.ego4d import Ego4D
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import UserError
from embodied_ssl.inspection import better_reader, read_as


def test_another_reader_keeps_what_both_can_be_told(tmp_path: Path) -> None:
    run = config.load("temporal_order")[0]
    run = dataclasses.replace(run, data=VideoFolder(root=str(tmp_path), short_side=77, fps=10))
    assert read_as(run, "Ego4D").data == Ego4D(root=str(tmp_path), short_side=77, fps=10)


def test_a_known_set_read_as_any_folder_is_pointed_out(tmp_path: Path) -> None:
    run = config.load("temporal_order")[0]
    ego = Ego4D.tiny(tmp_path / "ego")
    VideoFolder.tiny(tmp_path / "plain")
    note = better_reader(dataclasses.replace(run, data=VideoFolder(root=ego.root)))
    assert note.startswith(f"note: '{ego.root}' looks like Ego4D")
    assert "--as Ego4D" in note
    assert better_reader(dataclasses.replace(run, data=ego)) == ""
    assert better_reader(dataclasses.replace(run, data=VideoFolder(root=str(tmp_path / "plain")))) == ""


def test_tasks_have_readers_of_their_own() -> None:
    with pytest.raises(UserError, match="a multi-task run has a reader for each task"):
        read_as(config.load("multi_task")[0], "Ego4D")
