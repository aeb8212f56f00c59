"""HDF5 exports, opened with h5py and read as robomimic reads them, compared with the native rows."""

import json

import cv2
import numpy as np
import pytest
from made_up_interactions import make

from embodied_ssl.datasets.io.numbered import number_shown
from embodied_ssl.datasets.io.pictures import decode
from embodied_ssl.sim.export.exporting import choices, export
from embodied_ssl.sim.rows import DEPTH_UNIT
from embodied_ssl.sim.schema import TASKS

h5py = pytest.importorskip("h5py")
COMMANDED = {"grasp": (0, 1, 2), "push": (0, 1, 2, 3, 4), "poke": (0, 1), "observe": (0, 1, 4)}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    rows = make(folder / "native")
    export(folder / "native", folder / "out", "hdf5")
    return folder, rows


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    rows = make(folder / "native", films=True)
    export(folder / "native", folder / "out", "hdf5")
    return folder, rows


@pytest.fixture
def opened(pairs):
    with h5py.File(pairs[0] / "out" / "data.hdf5", "r") as file:
        yield file, pairs[1]


def grey(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_pictures_and_states_are_seen_before_and_after_the_step(opened):
    file, rows = opened
    for number, native in enumerate(rows):
        demo = file[f"data/demo_{number}"]
        for group, when in (("obs", "before"), ("next_obs", "after")):
            seen = demo[group]
            assert set(seen) == {"top_image", "wrist_image", "top_depth", "top_things", "state"}
            assert np.array_equal(seen["top_image"][:], decode(native[when], "")[None])
            assert np.array_equal(seen["wrist_image"][:], decode(native[f"wrist_{when}"], "")[None])
            assert np.array_equal(np.round(seen["top_depth"][:] / DEPTH_UNIT), grey(native[f"depth_{when}"])[None, ..., None])
            assert seen["top_depth"].dtype == np.float32
            assert np.array_equal(seen["top_things"][:], grey(native[f"things_{when}"])[None, ..., None])
            at = 7 * native["acted_place"]
            state = np.float32([*native[f"states_{when}"][at : at + 7], *native[f"tool_{when}"]])
            assert np.array_equal(seen["state"][:], state[None])


def test_every_field_of_a_row_is_in_its_demo(opened):
    file, rows = opened
    shown = {f"{prefix}{when}" for prefix in ("", "wrist_", "depth_", "things_") for when in ("before", "after")}
    for number, native in enumerate(rows):
        demo = file[f"data/demo_{number}"]
        for name, value in native.items():
            if name in shown:
                continue
            if value is None:
                assert name not in demo.attrs
                assert name not in demo["interaction"]
            elif name == "tactile_first":
                assert np.array_equal(demo["interaction"][name][:], grey(value))
            elif name in ("force", "travel", "raw_force", "contacts", "states_before", "states_after", "textures"):
                assert demo["interaction"][name][:].tolist() == value
            else:
                kept = demo.attrs[name]
                assert (kept.tolist() if isinstance(kept, np.ndarray) else kept) == value
        assert demo["interaction"]["raw_force"].dtype == demo.attrs["grasp"].dtype == np.float32
        assert demo["interaction"]["textures"].dtype == np.int32
        assert demo.attrs["mass"].dtype == np.float64
        assert demo.attrs["task_name"] == TASKS[native["task"]]


def test_actions_lie_in_the_range_that_robomimic_demands_and_come_back(opened):
    file, rows = opened
    about = file["data"].attrs
    low, high, names = about["action_low"], about["action_high"], about["action_names"].tolist()
    places = {f"{name.split('.')[0]}": [] for name in names}
    for place, name in enumerate(names):
        places[name.split(".")[0]].append(place)
    for number, native in enumerate(rows):
        action = file[f"data/demo_{number}/actions"][0]
        assert np.abs(action).max() <= 1
        back = low + (action + 1) / 2 * (high - low)
        for task in TASKS:
            np.testing.assert_allclose(back[places[task]], np.array(native[task])[list(COMMANDED[task])], atol=1e-6)


def sequence_items(path, keys, filter_key=None):
    """What robomimic's SequenceDataset reads, in its order: plain steps, padded to sequences of two by repeating the last."""
    with h5py.File(path, "r", swmr=True, libver="latest") as file:
        demos = [name.decode() for name in file[f"mask/{filter_key}"][:]] if filter_key else list(file["data"])
        for demo in sorted(demos, key=lambda name: int(name[5:])):
            group = file["data"][demo]
            for step in range(group.attrs["num_samples"]):
                item = {key: group[key][step : step + 2].astype("float32") for key in ("actions", "rewards", "dones")}
                item |= {f"{part}/{key}": group[f"{part}/{key}"][step : step + 2] for part in ("obs", "next_obs") for key in keys}
                yield demo, {key: np.concatenate([value, value[-1:]])[:2] for key, value in item.items()}


@pytest.mark.parametrize("which", ["pairs", "films"])
def test_it_is_read_as_robomimic_reads(which, request):
    folder, rows = request.getfixturevalue(which)
    path = folder / "out" / "data.hdf5"
    items = list(sequence_items(path, ("top_image", "state")))
    with h5py.File(path) as file:
        assert len(items) == file["data"].attrs["total"]
        assert json.loads(file["data"].attrs["env_args"]).keys() >= {"env_name", "type", "env_kwargs"}
        shapes = {file[f"data/{demo}/actions"].shape[1:] for demo in file["data"]}
        assert len(shapes) == 1
    for name in ("train", "valid"):
        assert list(sequence_items(path, ("state",), name))
    for demo, item in items:
        native = rows[int(demo[5:])]
        assert item["obs/top_image"].shape == (2, 48, 64, 3)
        assert item["rewards"][-1] == (float(native["success"]) if item["dones"][-1] else 0.0)


def test_a_film_has_a_step_for_each_frame_but_the_last(films):
    folder, rows = films
    with h5py.File(folder / "out" / "data.hdf5") as file:
        for number, native in enumerate(rows):
            demo = file[f"data/demo_{number}"]
            frames = [100 * number + k for k in range(3 + number % 4)] if native["film"] else [100 * number, 100 * number + 50]
            assert [number_shown(pixels) for pixels in demo["obs/top_image"]] == frames[:-1]
            assert [number_shown(pixels) for pixels in demo["next_obs/top_image"]] == frames[1:]
            assert demo.attrs["num_samples"] == len(frames) - 1
            assert demo["dones"][:].tolist() == [0] * (len(frames) - 2) + [1]
            assert demo["rewards"][:].tolist() == [0.0] * (len(frames) - 2) + [float(native["success"])]
            for name in ("actions", "states", "obs/state", "next_obs/state"):
                assert len(demo[name]) == len(frames) - 1
            for when in ("before", "after"):
                assert np.array_equal(demo[f"interaction/{when}"][:], decode(native[when], ""))
                assert np.array_equal(demo[f"interaction/depth_{when}"][:], grey(native[f"depth_{when}"]))


def test_no_thing_is_in_both_parts(opened):
    file, rows = opened
    names = {part: [name.decode() for name in file[f"mask/{part}"][:]] for part in ("train", "valid")}
    assert sorted(names["train"] + names["valid"]) == sorted(file["data"])
    acted = {part: {rows[int(name[5:])]["acted"] for name in names[part]} for part in names}
    assert acted["train"]
    assert acted["valid"]
    assert not acted["train"] & acted["valid"]
    assert all(file["data"][name].attrs["part"] == part for part in names for name in names[part])


@pytest.mark.parametrize("compression", ["lzf", "none"])
def test_compression_changes_nothing_that_is_read(pairs, tmp_path, compression):
    folder, _ = pairs
    export(folder / "native", tmp_path / "out", "hdf5", choices("hdf5", compression=compression))

    def contents(path):
        found = {}

        def note(name, item):
            found[name] = item[()].tobytes() if isinstance(item, h5py.Dataset) else str(dict(item.attrs))

        with h5py.File(path) as file:
            file.visititems(note)
            return file["data/demo_0/obs/top_image"].compression, found

    plain, found = contents(tmp_path / "out" / "data.hdf5")
    zipped, wanted = contents(folder / "out" / "data.hdf5")
    assert (plain, zipped) == (None if compression == "none" else compression, "gzip")
    assert found == wanted


def test_nothing_says_when_it_was_made(opened):
    file, _ = opened
    times = []
    for kind in (h5py.h5o.get_info(file.id), *times):
        assert kind.mtime == 0
    file.visititems(lambda name, item: times.append(h5py.h5o.get_info(item.id).mtime))
    assert len(times) > 100
    assert set(times) == {0}
