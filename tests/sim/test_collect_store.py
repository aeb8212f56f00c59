"""Folders: what is refused, what is kept, what is found out; parts by many processes; hashes that depend on values alone."""

import errno
import io
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_rows import ask_for, made_up, spec_for

from embodied_ssl import cli
from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY
from embodied_ssl.sim import rows
from embodied_ssl.sim.collecting import identity as module
from embodied_ssl.sim.collecting import shards
from embodied_ssl.sim.collecting.accepted import Part
from embodied_ssl.sim.collecting.arrays import array_of
from embodied_ssl.sim.collecting.collect import collect, content_hash
from embodied_ssl.sim.collecting.content import content_hash_of
from embodied_ssl.sim.collecting.identity import identity
from embodied_ssl.sim.collecting.store import MANIFEST, Manifest, filling
from embodied_ssl.sim.collecting.verify import verify
from embodied_ssl.sim.objects.own import survey
from embodied_ssl.sim.spec import Outputs, Pool, Randomise


@pytest.fixture
def spec(tmp_path):
    return spec_for(tmp_path / "troubles")


@pytest.fixture
def whole(tmp_path, spec):
    """A finished folder, and the hash of its content."""
    return tmp_path / "whole", collect(tmp_path / "whole", spec, make=made_up).sha256


# parts


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_fill_one_folder(tmp_path, spec, whole, order):
    out = tmp_path / "set"
    for count, number in enumerate(order):
        summary = collect(out, spec, part=Part(number, 3), make=made_up)
        assert summary.made == 8
        assert summary.missing == (6 - 2 * (count + 1))
        assert summary.sha256 == ("" if summary.missing else whole[1])
        assert json.loads((out / MANIFEST).read_text())["sha256"] == summary.sha256
    assert not (out / "facts").exists()
    assert verify(out).whole
    assert collect(out, spec, part=Part(2, 3), make=made_up).made == 0  # again: nothing to do


def test_a_part_that_ends_while_another_finishes_the_folder(tmp_path, spec, whole):
    out = tmp_path / "set"

    def meanwhile(spec, index):
        if index == 23:  # in the last shard of part 2, all else being there
            collect(out, spec, part=Part(1, 2), make=made_up)
            collect(out, spec, part=Part(2, 2), make=made_up)  # the same part by mistake: it finishes the folder
            assert not (out / "facts").exists()
        return made_up(spec, index)

    summary = collect(out, spec, part=Part(2, 2), make=meanwhile)
    assert (summary.made, summary.missing, summary.sha256) == (12, 0, whole[1])
    assert verify(out).whole


def test_parts_in_folders_of_their_own_are_joined_by_copying(tmp_path, spec, whole):
    for number in (1, 2):
        assert collect(tmp_path / f"part{number}", spec, part=Part(number, 2), make=made_up).missing == 3
    joined = tmp_path / "joined"
    for number in (1, 2):
        shutil.copytree(tmp_path / f"part{number}", joined, dirs_exist_ok=True)
    assert verify(joined).whole
    summary = collect(joined, spec, resume=True, make=made_up)
    assert (summary.made, summary.sha256) == (0, whole[1])


def test_a_part_leaves_what_others_are_writing(tmp_path, spec):
    out = tmp_path / "set"
    collect(out, spec, part=Part(1, 2), make=made_up)
    ours, others = (out / f"{TEMPORARY}99-ab-{rows.shard_name(number)}" for number in (2, 3))
    ours.write_bytes(b"half")
    others.write_bytes(b"half")
    collect(out, spec, part=Part(1, 2), make=made_up)
    assert not ours.exists()
    assert others.exists()
    with pytest.raises(UserError, match="being filled by another process"), filling(out, identity(spec), True, ()):
        collect(out, spec, resume=True, make=made_up)
    with pytest.raises(UserError, match="being filled by another process"), filling(tmp_path / "alone", {}, False):
        collect(tmp_path / "alone", spec, part=Part(2, 2), make=made_up)


def test_facts_of_another_data_set_do_not_count(tmp_path, spec):
    collect(tmp_path / "other", replace(spec, seed=1), part=Part(1, 2), make=made_up)
    collect(tmp_path / "set", spec, part=Part(2, 2), make=made_up)
    subprocess.run(f"cp -r {tmp_path}/other/facts {tmp_path}/other/shard* {tmp_path}/set", shell=True, check=True)
    assert sorted(Manifest.load(tmp_path / "set").pieces) == [rows.shard_name(number) for number in (1, 3, 5)]
    assert verify(tmp_path / "set").named("half-written") == [rows.shard_name(number) for number in (0, 2, 4)]
    assert collect(tmp_path / "set", spec, resume=True, make=made_up).made == 12


@pytest.mark.parametrize("text", ["0/4", "5/4", "a/b", "1", "1/0", "-1/4", "1/4/2", ""])
def test_parts_that_are_none(text):
    with pytest.raises(UserError, match=r"give i/N with 1 <= i <= N"):
        Part.parse(text)


def test_parts_share_the_work_evenly():
    for count, of in ((10, 3), (2, 4), (1000, 7)):
        parts = [list(Part(number, of).shards(count)) for number in range(1, of + 1)]
        assert sorted(number for part in parts for number in part) == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


# what is wrong with a folder


def spoil(out):
    """A byte changed, a shard gone, another cut short, and one that a kill has left."""
    data = bytearray((out / rows.shard_name(0)).read_bytes())
    data[len(data) // 2] ^= 1
    (out / rows.shard_name(0)).write_bytes(data)
    (out / rows.shard_name(1)).unlink()
    (out / rows.shard_name(2)).write_bytes(b"short")
    (out / f"{TEMPORARY}7-ab-{rows.shard_name(1)}").write_bytes(b"half")


def test_what_is_wrong_is_found_and_mended(tmp_path, spec, whole):
    out, sha256 = whole
    assert verify(out).to_json() == {
        "folder": str(out),
        "kind": "interactions",
        "whole": True,
        "sha256": sha256,
        "sound": 6,
        "altered": [],
        "missing": [],
        "half-written": [],
        "manifest": "sound",
    }
    spoil(out)
    found = verify(out)
    assert not found.whole
    assert found.sha256 == ""
    assert found.named("altered") == ["shard-00000.parquet", "shard-00002.parquet"]
    assert found.named("missing") == ["shard-00001.parquet"]
    assert found.named("half-written") == [f"{TEMPORARY}7-ab-shard-00001.parquet"]
    summary = collect(out, spec, resume=True, make=made_up)
    assert (summary.made, summary.sha256) == (12, sha256)
    assert verify(out).whole


def test_every_single_bit_of_a_shards_values_counts(tmp_path, spec):
    out = tmp_path / "small"
    collect(out, replace(spec, episodes=1), make=made_up)
    path = out / rows.shard_name(0)
    data, row = path.read_bytes(), rows.read_shard(path).to_pylist()[0]
    rng = np.random.default_rng(0)
    start = data.index(row["before"])
    for place in rng.integers(start, start + len(row["before"]), 20):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        assert verify(out).named("altered") == [path.name]


def test_a_changed_manifest_is_found(whole):
    out, _ = whole
    body = json.loads((out / MANIFEST).read_text())
    (out / MANIFEST).write_text(json.dumps({**body, "spec": {**body["spec"], "seed": 1}}))
    found = verify(out)
    assert not found.manifest_sound
    assert not found.whole
    (out / MANIFEST).write_text(json.dumps({**body, "sha256": "0" * 64}))
    assert not verify(out).whole


def test_the_command_verifies(whole, tmp_path, capsys):
    out, sha256 = whole
    told = tmp_path / "told.json"
    with pytest.raises(SystemExit) as left:
        cli.main(["simulate", "--verify", str(out), "--json", str(told)])
    assert left.value.code == 0
    assert f"sha256: {sha256}" in capsys.readouterr().out
    spoil(out)
    with pytest.raises(SystemExit) as left:
        cli.main(["simulate", "--verify", str(out), "--json", str(told)])
    assert left.value.code == 2
    said = capsys.readouterr()
    assert "  altered: shard-00000.parquet\n  missing: shard-00001.parquet\n  altered: shard-00002.parquet\n" in said.out
    assert said.err.splitlines()[-1].endswith("make what is wrong again with the same simulate command and --resume")
    assert json.loads(told.read_text())["missing"] == ["shard-00001.parquet"]
    with pytest.raises(SystemExit):
        cli.main(["simulate", "--verify", str(tmp_path)])
    assert "give a folder that simulate has written" in capsys.readouterr().err


# what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": 0}, "--episodes is 0; give 1 or more"),
        ({"tasks": ("grap",)}, "no task 'grap', did you mean 'grasp'?"),
        ({"tasks": ()}, "no task was given"),
        ({"tasks": ("poke", "poke")}, "named twice"),
        ({"size": (4, 4)}, "--size is 4 x 4"),
        ({"pool": Pool(objects=2)}, "pool of 2"),
        ({"things": (3, 2)}, "3 to 2 things"),
        ({"robot": "pandas"}, "robot=pandas is not accepted, did you mean 'panda'?"),
        ({"renderer": "auto"}, "renderer=auto is not accepted; there is gl, tiny"),
        ({"seed": -1}, "--seed is -1"),
        ({"per_shard": 0}, "per_shard=0"),
        ({"outputs": Outputs(video=7)}, "outputs.video=7 is not accepted; give 0, or frames a second that divide 240"),
        ({"outputs": Outputs(quality=101)}, "outputs.quality=101"),
        ({"randomise": Randomise(height=(2, 1))}, "randomise.height=2,1 runs backwards"),
    ],
)
def test_requests_that_are_refused(tmp_path, spec, change, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        collect(tmp_path / "set", replace(spec, **change), make=made_up)
    assert not (tmp_path / "set").exists()


def test_folders_that_are_refused(tmp_path, spec, whole):
    out, _ = whole
    with pytest.raises(UserError, match="already holds a data set; pass --resume to continue or choose another --out"):
        collect(out, spec, make=made_up)
    with pytest.raises(UserError, match="seed 0 there, 6 now"):
        collect(out, replace(spec, seed=6), resume=True, make=made_up)
    other = replace(spec, size=(64, 64), randomise=Randomise(textures=0.5))
    with pytest.raises(UserError, match=r"size \[128, 128\] there, \[64, 64\] now; randomise.textures 0.0 there, 0.5 now"):
        collect(out, other, part=Part(1, 2), make=made_up)
    place = tmp_path / "mine"
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(UserError, match="is not empty"):
            collect(place, spec, resume=resume, make=made_up)
    with pytest.raises(UserError, match=r"cannot write to .*Not a directory"):
        collect(place / "notes.txt" / "set", spec, make=made_up)
    assert (place / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path, spec):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"cannot write to .*Permission denied"):
        collect(tmp_path / "closed" / "set", spec, make=made_up)


CUBE = """v 0 0 0\nv .04 0 0\nv .04 .04 0\nv 0 .04 0\nv 0 0 .04\nv .04 0 .04\nv .04 .04 .04\nv 0 .04 .04
f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"""


def test_own_things_are_part_of_what_a_data_set_is(tmp_path, spec):
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(UserError, match="holds no URDF, OBJ, STL or PLY file"):
        collect(tmp_path / "set", replace(spec, pool=Pool(kinds=("own",), folder=str(mine))), make=made_up)
    (mine / "cube.obj").write_text(CUBE)
    (mine / "flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    own = replace(spec, pool=Pool(kinds=("own",), folder=str(mine)))
    summary = collect(tmp_path / "set", own, make=made_up)
    assert [item["name"] for item in summary.left_out] == ["flat.obj"]
    assert summary.missing == 0
    survey.cache_clear()
    (mine / "cube.obj").write_text(CUBE.replace(".04", ".05"))
    with pytest.raises(UserError, match=r"holds another data set \(own_things '\w{32}' there, '\w{32}' now\)"):
        collect(tmp_path / "set", own, resume=True, make=made_up)


def test_another_device_is_another_data_set(tmp_path, spec, whole, monkeypatch):
    monkeypatch.setattr(module, "drawn_by", lambda renderer: "a GPU")
    with pytest.raises(UserError, match=r"holds another data set \(drawn_by .* there, 'a GPU' now\)"):
        collect(whole[0], spec, resume=True, make=made_up)
    with pytest.raises(UserError, match="a worker draws with PyBullet's TinyRenderer, others with a GPU; give --renderer tiny"):
        shards.ShardWork(spec, made_up, drawn_by="a GPU")(0)


# disks


def test_a_full_disk_keeps_what_is_finished(tmp_path, spec, whole, monkeypatch):
    write = shards.whole

    def full(path):
        if "00001" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path)

    monkeypatch.setattr(shards, "whole", full)
    with pytest.raises(UserError, match=r"No space left on device.*1 finished pieces are kept.*--resume"):
        collect(tmp_path / "set", spec, make=made_up)
    monkeypatch.undo()
    summary = collect(tmp_path / "set", spec, resume=True, make=made_up)
    assert (summary.made, summary.sha256) == (20, whole[1])


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own, of 200 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", place], capture_output=True).returncode:
        pytest.skip("only root may mount")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_really_full(tmp_path, spec, whole, small_disk):
    with pytest.raises(UserError, match=r"No space left on device.*finished pieces are kept"):
        collect(small_disk / "set", spec, make=made_up)
    kept = sorted(path.name for path in (small_disk / "set").glob("shard-*"))
    assert kept
    assert not list((small_disk / "set").rglob(f"{TEMPORARY}*"))
    found = verify(small_disk / "set")
    assert found.named("sound") == kept
    assert found.named("altered") == []
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    summary = collect(small_disk / "set", spec, resume=True, make=made_up)
    assert summary.made == 24 - 4 * len(kept)
    assert summary.sha256 == whole[1]


# interrupts, in this process; those of a terminal are in test_collect_engines


def test_an_interrupt_leaves_finished_shards(tmp_path, spec, whole):
    ask_for(tmp_path / "troubles", "interrupt-9")
    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path / "set", spec, make=made_up)
    assert list(Manifest.load(tmp_path / "set").pieces) == ["shard-00000.parquet", "shard-00001.parquet"]
    assert collect(tmp_path / "set", spec, resume=True, make=made_up).made == 16
    assert content_hash(tmp_path / "set") == whole[1]


# hashes


def test_the_hash_is_of_values_not_of_how_they_lie(tmp_path, spec):
    made = [made_up(spec, index) for index in range(12)]
    table = rows.table_of(made)
    wanted = content_hash_of(table)
    assert content_hash_of(pa.Table.from_pylist(made, schema=rows.SCHEMA)) == wanted
    assert content_hash_of(pa.concat_tables([table[:5], table[5:]])) == wanted
    assert content_hash_of(table.select(table.column_names[::-1])) == wanted
    for options in ({"compression": "zstd"}, {"row_group_size": 1}, {"version": "1.0"}, {"use_dictionary": True}):
        file = io.BytesIO()
        pq.write_table(table, file, **options)
        assert content_hash_of(pq.read_table(io.BytesIO(file.getvalue()))) == wanted
    assert content_hash_of(table[3:9]) == content_hash_of(rows.table_of(made[3:9]))
    assert content_hash_of(table[:11]) != wanted


@pytest.mark.parametrize("name", rows.SCHEMA.names)
def test_every_value_counts(spec, name):
    made = [made_up(spec, index) for index in range(3)]
    wanted = content_hash_of(rows.table_of(made))
    value = made[1][name]
    if value is None:
        value = b"made"
    elif isinstance(value, list):
        value = [*value[:-1], "other" if name in ("things", "shapes") else 17]
    else:
        value = {bool: lambda: not value, str: lambda: value + " ", bytes: lambda: value + b"\0"}.get(type(value), lambda: 17)()
    assert content_hash_of(rows.table_of([made[0], {**made[1], name: value}, made[2]])) != wanted
    if made[1][name] is not None:
        assert content_hash_of(rows.table_of([made[0], {**made[1], name: None}, made[2]])) != wanted


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 3], pa.int8()),
        ([None, [1.5, None], []], pa.list_(pa.float32())),
        ([np.arange(3.0), np.zeros(0)], pa.list_(pa.float64())),
        ([[1, 2], None], pa.list_(pa.int32(), 2)),
        ([b"a", None, b""], pa.binary()),
        (["ä", None], pa.string()),
        ([True, None, False], pa.bool_()),
        ([], pa.list_(pa.float64(), 3)),
        ([[], [[b"x"], None]], pa.list_(pa.list_(pa.binary()))),
        ([2**53 + 1, -1], pa.int64()),
    ],
    ids=str,
)
def test_arrays_are_those_that_arrow_makes(values, kind):
    array = array_of(values, kind)
    array.validate(full=True)
    assert array.equals(pa.array(values, kind))


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ([1.5], pa.int8(), "float64 values where int8 are wanted"),
        ([300], pa.int8(), "int64 values where int8"),
        ([[1, 2, 3]], pa.list_(pa.int32(), 2), r"lists of \[3\] values where 2"),
        (["x"], pa.binary(), "str where bytes"),
        ([b"x"], pa.string(), "bytes where text"),
    ],
    ids=str,
)
def test_values_of_another_kind_are_refused(values, kind, said):
    with pytest.raises((TypeError, ValueError), match=said):
        array_of(values, kind)


def test_rows_that_do_not_fit_the_schema(spec):
    row = made_up(spec, 0)
    with pytest.raises(ValueError, match="disagree on weight"):
        rows.table_of([{**row, "weight": 1.0}])
    del row["mass"]
    with pytest.raises(ValueError, match="disagree on mass"):
        rows.table_of([row])


def test_names_of_pieces_may_have_folders(tmp_path):
    with filling(tmp_path / "set", {"kind": "drives"}, False) as manifest:
        manifest.add("train/kitchen/room_003", {"sha256": "1"})
        assert (Path(tmp_path) / "set" / "facts" / "train" / "kitchen" / "room_003.json").exists()
        assert list(Manifest.load(tmp_path / "set").pieces) == ["train/kitchen/room_003"]
    assert list(Manifest.load(tmp_path / "set").pieces) == ["train/kitchen/room_003"]
    assert not (tmp_path / "set" / "facts").exists()
