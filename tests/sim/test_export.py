"""Exports of every format: the same bytes each time, whole or not there, and what is wrong is named."""

import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from made_up_interactions import make, row, write

from embodied_ssl.cli import main
from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY
from embodied_ssl.sim.collecting.store import Manifest
from embodied_ssl.sim.export import finishing, hdf5, lerobot, native
from embodied_ssl.sim.export.columns import COMPONENTS, layout_of
from embodied_ssl.sim.export.exporting import FORMATS, choices, export
from embodied_ssl.sim.schema import TASKS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("set") / "native"
    make(place, 11, films=True)
    return place


def contents(place):
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_data_give_the_same_bytes_wherever_they_lie(folder, tmp_path, form):
    shutil.copytree(folder, tmp_path / "moved")
    export(folder, tmp_path / "one", form)
    (tmp_path / "two").mkdir()  # an empty folder may be there
    code = f"""
from pathlib import Path
from embodied_ssl.sim.export.exporting import export
export(Path({str(tmp_path / "moved")!r}), Path({str(tmp_path / "two")!r}), {form!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert str(folder).encode() not in b"".join(contents(tmp_path / "one").values())


@pytest.mark.parametrize("form", FORMATS)
def test_altered_and_lost_shards_are_left_out_and_named(folder, tmp_path, form):
    shutil.copytree(folder, tmp_path / "native")
    data = bytearray((tmp_path / "native" / "shard-00000.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "native" / "shard-00000.parquet").write_bytes(data)
    (tmp_path / "native" / "shard-00002.parquet").unlink()
    made = export(tmp_path / "native", tmp_path / "out", form)
    assert made.interactions == 5
    assert [item.name.rpartition("/")[2] for item in made.bad] == ["shard-00000.parquet", "shard-00002.parquet"]
    assert "differs from what was written" in made.bad[0].reason
    assert "No such file" in made.bad[1].reason
    about = json.loads(next((tmp_path / "out").rglob("export.json")).read_text())
    assert [item["name"] for item in about["left_out"]] == ["shard-00000.parquet", "shard-00002.parquet"]
    assert about["written"] == 5


@pytest.mark.parametrize("form", ["lerobot", "hdf5"])
@pytest.mark.parametrize(("column", "value"), [("before", b"no picture"), ("after", None), ("mass", None), ("acted_place", 9)])
def test_a_row_that_cannot_be_read_is_left_out_whole(tmp_path, form, column, value):
    rows = [row(index) for index in range(9)]  # of each task two, so that none is lost with the row
    rows[3][column] = value
    write(tmp_path / "native", rows)
    made = export(tmp_path / "native", tmp_path / "out", form)
    assert made.interactions == 8
    assert made.bad[0].name.rpartition("/")[2].startswith("shard-00000.parquet row 3")
    write(tmp_path / "sound", rows[:3] + rows[4:])
    export(tmp_path / "sound", tmp_path / "wanted", form)
    named = ("export.json", "data.hdf5")  # these two say how many there were
    found, wanted = contents(tmp_path / "out"), contents(tmp_path / "wanted")
    assert {k: v for k, v in found.items() if not k.endswith(named)} == {k: v for k, v in wanted.items() if not k.endswith(named)}


def test_shards_with_other_columns_are_left_out(tmp_path):
    rows = [row(index) for index in range(6)]
    write(tmp_path / "native", rows)
    fewer = Manifest.load(write(tmp_path / "fewer", rows, schema=make_schema_without("mass"))).pieces
    shutil.copy(tmp_path / "fewer" / "shard-00001.parquet", tmp_path / "native" / "shard-00001.parquet")
    manifest = Manifest.load(tmp_path / "native")
    manifest.pieces["shard-00001.parquet"] = fewer["shard-00001.parquet"]
    manifest.save()
    made = export(tmp_path / "native", tmp_path / "out", "webdataset")
    assert made.interactions == 5
    assert made.bad[0].reason == "has other columns than shard-00000.parquet"


def make_schema_without(name):
    import pyarrow as pa
    from made_up_interactions import SCHEMA

    return pa.schema([field for field in SCHEMA if field.name != name])


def test_unfinished_folders_are_refused_unless_asked_for(tmp_path):
    write(tmp_path / "native", [row(index) for index in range(4)], episodes=20)
    with pytest.raises(
        UserError, match=r"unfinished: 4 of 20 interactions are there; run simulate with --resume .* or pass --unfinished"
    ):
        export(tmp_path / "native", tmp_path / "out", "webdataset")
    assert export(tmp_path / "native", tmp_path / "out", "webdataset", unfinished=True).interactions == 4


def test_folders_that_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="'/no/where' does not exist; give a folder that simulate has written"):
        export(native.Path("/no/where"), tmp_path / "out", "hdf5")
    with pytest.raises(UserError, match="holds no simulated interactions"):
        export(tmp_path, tmp_path / "out", "hdf5")
    Manifest(tmp_path, {"kind": "drives"}).save()
    with pytest.raises(UserError, match="holds drives, which are in KITTI's raw layout already: there is nothing to export"):
        export(tmp_path, tmp_path / "out", "hdf5")
    with pytest.raises(UserError, match="is not empty; choose another --out"):
        export(folder, tmp_path, "hdf5")
    with pytest.raises(UserError, match=r"manifest\.json' is a file; choose another --out"):
        export(folder, tmp_path / "manifest.json", "hdf5")
    with pytest.raises(UserError, match=r"cannot be written \(.*\); choose another --out"):
        export(folder, tmp_path / "manifest.json" / "out", "hdf5")
    Manifest(tmp_path / "native", {"kind": "interactions", "episodes": 0}).folder.mkdir()
    Manifest(tmp_path / "native", {"kind": "interactions", "episodes": 0}).save()
    with pytest.raises(UserError, match="holds no readable shard"):
        export(tmp_path / "native", tmp_path / "out", "hdf5")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_an_interrupt_leaves_nothing(folder, tmp_path, form):
    def stop(done, total):
        assert total == 11
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(folder, tmp_path / "out", form, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(self, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lerobot.Writer, "add", full)
    with pytest.raises(UserError, match=r"the disk is full: .* nothing is left of it; free some space"):
        export(folder, tmp_path / "out", "lerobot")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_under_hdf5_leaves_nothing(folder, tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            if self.file.tell() + len(data) > 50_000:
                raise OSError(28, "No space left on device")
            return self.file.write(data)

    make_disk = hdf5.Disk.__init__

    def small(self, path):
        make_disk(self, path)
        self._file = Full(self._file)

    monkeypatch.setattr(hdf5.Disk, "__init__", small)
    with pytest.raises(UserError, match=r"the disk is full: .* nothing is left of it; free some space"):
        export(folder, tmp_path / "out", "hdf5")
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_changes_while_it_is_read_is_named(tmp_path):
    make(tmp_path / "native", 12)

    def spoil(done, total):
        if done == 1:
            (tmp_path / "native" / "shard-00001.parquet").write_bytes(b"spoilt")
            (tmp_path / "native" / "shard-00002.parquet").unlink()

    made = export(tmp_path / "native", tmp_path / "out", "webdataset", on_progress=spoil)
    assert made.interactions == 5
    assert [item.name.rpartition("/")[2] for item in made.bad] == ["shard-00001.parquet", "shard-00002.parquet"]
    assert made.bad[0].reason.startswith("cannot be read from row 0 on (")


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(folder, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for owner in (dead.pid, os.getppid()):
        (tmp_path / f"{TEMPORARY}{owner}-out" / "data").mkdir(parents=True)
    export(folder, tmp_path / "out", "webdataset")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{TEMPORARY}{os.getppid()}-out", "out"]


def test_a_folder_taken_meanwhile_is_kept(tmp_path):
    def fill():
        with finishing.finishing(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "mine").write_text("mine")

    with pytest.raises(UserError, match="cannot be written"):
        fill()
    assert (tmp_path / "out" / "mine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_an_empty_folder_is_followed(folder, tmp_path):
    (tmp_path / "disk" / "set").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "set")
    export(folder, tmp_path / "out", "webdataset")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "set" / "export.json").is_file()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["set"]


def test_a_disk_s_own_folder_is_refused_at_once(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(native.Path, "is_mount", lambda path: path == tmp_path / "disk")
    (tmp_path / "disk").mkdir()
    with pytest.raises(UserError, match=r"is a disk's own folder, .* choose a folder below it as --out"):
        export(folder, tmp_path / "disk", "webdataset")


def test_progress_counts_every_interaction(folder, tmp_path):
    told = []
    export(folder, tmp_path / "out", "webdataset", on_progress=lambda *numbers: told.append(numbers))
    assert told == [(k, 11) for k in range(1, 12)]


def test_columns_are_told_by_what_they_hold(folder):
    layout = layout_of(native.open_native(folder))
    kinds = {name: column.kind for name, column in layout.columns.items()}
    assert {kinds[name] for name in ("before", "after", "wrist_before")} == {"colour"}
    assert {kinds[name] for name in ("depth_before", "things_after", "tactile_first")} == {"grey"}
    assert (kinds["film"], kinds["raw_force"], kinds["things"], kinds["force"]) == ("film", "list", "texts", "vector")
    assert layout.rate == 10
    assert [camera.name for camera in layout.cameras] == ["top"]
    assert layout.states[-3:] == ("tool.0", "tool.1", "tool.2")


@pytest.mark.parametrize("task", TASKS)
def test_components_of_actions_have_the_names_that_their_tasks_give_them(task):
    assert COMPONENTS[task] == importlib.import_module(f"embodied_ssl.sim.tasks.{task}").ACTION


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["export-data", *map(str, arguments)])
    return left.value.code


def test_the_command(folder, tmp_path, capsys):
    assert run(folder, "--format", "webdataset", "--out", tmp_path / "out", "--json", tmp_path / "said.json") == 0
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["interactions"] == 11
    assert said["left_out"] == []
    assert said["bytes"] == sum(map(len, contents(tmp_path / "out").values()))
    assert "interactions: 11" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "lerobt"), "there is no format 'lerobt', did you mean 'lerobot'?"),
        (("--format", "hdf5", "--pictures", "image"), "--pictures is of --format lerobot, not of hdf5; leave it out"),
        (("--format", "lerobot", "--pictures", "gif"), "--pictures gif is not accepted; there is image, video"),
        (("--format", "hdf5", "--compression", "gz"), "--compression gz is not accepted, did you mean 'gzip'?"),
    ],
)
def test_words_that_are_refused(folder, tmp_path, capsys, words, message):
    assert run(folder, *words, "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_choices_leave_the_defaults_where_nothing_is_said():
    assert choices("lerobot", pictures="", compression="").pictures == "video"
