"""WebDataset exports, read by the webdataset package itself, and compared with the native rows."""

import io
import json
import pickle
import subprocess
import sys
import tarfile

import cv2
import numpy as np
import pytest
from made_up_interactions import make

from embodied_ssl.sim.export import webdataset as ours
from embodied_ssl.sim.export.exporting import export
from embodied_ssl.sim.schema import TASKS

pytest.importorskip("webdataset")
ARRAYS = {"force": np.float32, "travel": np.float32, "raw_force": np.float32, "contacts": np.float32}
ARRAYS |= {"states_before": np.float64, "states_after": np.float64, "textures": np.int32}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    rows = make(folder / "native", films=True)
    export(folder / "native", folder / "out", "webdataset")
    return folder, rows


READ = """
import pickle, sys, webdataset
data = webdataset.WebDataset(sys.argv[1:], shardshuffle=False)
pickle.dump((list(data), list(data.decode("rgb8"))), sys.stdout.buffer)
"""


@pytest.fixture(scope="module")
def read(made):
    """What webdataset reads, plain and decoded; in a process of its own, since it leaves files open, which is an error here."""
    paths = [str(path) for part in ("train", "valid") for path in sorted((made[0] / "out").glob(f"{part}-*.tar"))]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", READ, *paths], capture_output=True, check=True)
    return [sorted(samples, key=lambda sample: sample["__key__"]) for samples in pickle.loads(done.stdout)]


def test_every_field_comes_back(made, read):
    _, rows = made
    found = read[0]
    assert [sample["__key__"] for sample in found] == [f"{k:06d}" for k in range(len(rows))]
    for sample, native in zip(found, rows, strict=True):
        texts = json.loads(sample["json"])
        assert texts["task_name"] == TASKS[native["task"]]
        for name, value in native.items():
            if isinstance(value, bytes):
                assert sample[f"{name}.{'mp4' if name == 'film' else 'png'}"] == value
            elif value is None:
                assert not [key for key in sample if key.startswith(f"{name}.")]
            elif name in ARRAYS:
                array = np.load(io.BytesIO(sample[f"{name}.npy"]))
                assert array.dtype == ARRAYS[name]
                assert array.tolist() == value
            else:
                assert texts[name] == value


def test_its_own_decoders_take_it(made, read):
    _, rows = made
    for sample, native in zip(read[1], rows, strict=True):
        picture = cv2.imdecode(np.frombuffer(native["before"], np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(sample["before.png"], picture)
        assert sample["force.npy"].tolist() == native["force"]
        assert sample["json"]["mass"] == native["mass"]


def test_no_thing_is_in_both_parts(made):
    folder, rows = made
    things = {"train": set(), "valid": set()}
    for part, found in things.items():
        for path in sorted((folder / "out").glob(f"{part}-*.tar")):
            with tarfile.open(path) as tar:
                found |= {rows[int(name[:6])]["acted"] for name in tar.getnames()}
    assert things["train"]
    assert things["valid"]
    assert not things["train"] & things["valid"]


def test_tars_say_nothing_of_who_made_them_and_when(made):
    with tarfile.open(made[0] / "out" / "train-000000.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (0, 0, 0, "", "", 0o644)


def test_a_full_tar_is_followed_by_another(made, tmp_path, monkeypatch):
    monkeypatch.setattr(ours, "SAMPLES", 4)
    folder, rows = made
    export(folder / "native", tmp_path / "out", "webdataset")
    index = json.loads((tmp_path / "out" / "train.json").read_text())
    assert index["wids_version"] == 1
    assert len(index["shardlist"]) > 1
    for shard in index["shardlist"]:
        with tarfile.open(tmp_path / "out" / shard["url"]) as tar:
            assert len({name[:6] for name in tar.getnames()}) == shard["nsamples"] <= 4

    def files(place):
        found = {}
        for path in sorted(place.glob("*.tar")):
            with tarfile.open(path) as tar:
                found |= {member.name: tar.extractfile(member).read() for member in tar}
        return found

    assert files(tmp_path / "out") == files(folder / "out")
    assert len({name[:6] for name in files(tmp_path / "out")}) == len(rows)
