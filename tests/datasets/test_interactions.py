"""Interactions are read lazily, split by thing, and broken shards are named."""

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.datasets.interactions import Interactions
from embodied_ssl.datasets.io.pictures import decode
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.sim import rows
from embodied_ssl.sim.collecting.collect import collect
from embodied_ssl.sim.spec import Pool, Spec


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    out = tmp_path_factory.mktemp("real") / "set"
    collect(out, Spec(episodes=24, seed=1, size=(32, 32), per_shard=6, pool=Pool(objects=8), renderer="tiny"))
    return out


@pytest.fixture
def tiny(tmp_path):
    return Interactions.tiny(tmp_path / "tiny")


def test_samples_are_the_rows(real):
    source = Interactions(str(real)).open()
    table = [row for k in range(4) for row in rows.read_shard(real / rows.shard_name(k)).to_pylist()]
    assert len(source) == len(table) == 24
    for index in (23, 0, 7):
        sample, row = source[index], table[index]
        assert set(sample) == source.provides
        assert sample["index"] == index
        assert sample["task"] == row["task"]
        for task, length in (("grasp", 4), ("push", 5), ("poke", 4)):
            assert sample[task].dtype == np.float32
            assert sample[task].shape == (length,)
            assert sample[task].tolist() == row[task]
        for when in ("before", "after"):
            assert sample[when].size == (32, 32)
            assert (sample[when].take((0, 0, 32, 32), (32, 32)) == decode(row[when], "")).all()
            assert sample[when].take((4, 4, 16, 16), (8, 8)).shape == (8, 8, 3)
    assert source.recordings == [row["acted"] for row in table]
    assert source.bad == []


def test_no_acted_thing_is_in_both_parts(real, tiny):
    for data in (Interactions(str(real)), tiny):
        train, held_out = data.open("train"), data.open("held_out")
        assert len(train) + len(held_out) == len(data.open())
        assert len(held_out) > 0
        assert not set(train.recordings) & set(held_out.recordings)


def test_tasks_are_chosen_and_the_split_is_the_same_for_all(tiny):
    pushes = Interactions(tiny.root, ("push",))
    assert len(pushes.open()) == 8
    assert {pushes.open()[i]["task"] for i in range(8)} == {1}
    for part in ("train", "held_out"):
        assert set(pushes.open(part).recordings) <= set(tiny.open(part).recordings)


def test_a_source_can_be_sent_to_another_process(tiny):
    source = tiny.open()
    pixels = source[5]["before"].pixels
    copy = pickle.loads(pickle.dumps(source))
    assert (copy[5]["before"].pixels == pixels).all()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert (pool.apply(first_pixels, (source, 5)) == pixels).all()


def first_pixels(source, index):
    return source[index]["before"].pixels


def test_pictures_are_read_only_when_asked_for(tiny, monkeypatch):
    source = tiny.open()
    calls = []
    monkeypatch.setattr(type(source.shards), "read", lambda *args: calls.append(args))
    for index in range(len(source)):
        source[index]
    assert calls == []


def test_a_spoilt_shard_is_left_out_and_named(tiny):
    path = min(Path(tiny.root).glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    source = tiny.open()
    assert len(source) == 12
    assert [(item.name, "differs" in item.reason) for item in source.bad] == [(str(path), True)]
    path.write_bytes(b"")
    assert len(tiny.open().bad) == 1
    path.unlink()
    assert "No such file" in tiny.open().bad[0].reason


def test_an_unfinished_data_set_is_read_and_said_to_be(tiny):
    manifest = Path(tiny.root) / "manifest.json"
    body = json.loads(manifest.read_text())
    del body["pieces"]["shard-00001.parquet"]
    manifest.write_text(json.dumps(body))
    source = tiny.open()
    assert len(source) == 12
    assert "1 of 2 shards" in source.bad[0].reason
    assert "--resume" in source.bad[0].reason


def test_a_picture_whose_file_is_gone_is_a_bad_item(tiny):
    source = tiny.open()
    Path(tiny.root, "shard-00000.parquet").unlink()
    with pytest.raises(BadItem, match=r"shard-00000.parquet row 3"):
        source[3]["before"].pixels  # noqa: B018


def test_several_folders_are_joined(tiny, tmp_path):
    other = Interactions.tiny(tmp_path / "other")
    assert len(Interactions(f"{tiny.root}, {other.root}").open()) == 48


def test_what_is_refused(tmp_path, tiny):
    with pytest.raises(UserError, match="holds no simulated interactions"):
        Interactions(str(tmp_path)).open()
    with pytest.raises(UserError, match="no task 'pull'"):
        Interactions(tiny.root, ("pull",)).open()
    with pytest.raises(UserError, match="does not exist"):
        Interactions(str(tmp_path / "nowhere")).open()
    (tmp_path / "drives").mkdir()
    (tmp_path / "drives" / "manifest.json").write_text('{"spec": {"kind": "drives"}, "pieces": {}}')
    with pytest.raises(UserError, match="holds simulated drives, not interactions"):
        Interactions(str(tmp_path / "drives")).open()
    (tmp_path / "drives" / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="is not a manifest"):
        Interactions(str(tmp_path / "drives")).open()


def test_folders_are_recognised(tmp_path, tiny, real):
    assert Interactions.recognises(Path(tiny.root))
    assert Interactions.recognises(real)
    assert not Interactions.recognises(tmp_path)
