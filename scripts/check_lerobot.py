"""Compare exports with the native rows they were made of, as the real ``lerobot`` package loads them, offline.

It needs nothing of this project, so that it can run in an environment of lerobot's own: ``make lerobot`` builds that and runs it.

Example: python scripts/check_lerobot.py NATIVE EXPORT [EXPORT...]
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import av
import lerobot
import numpy as np
import pyarrow.parquet as pq
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray
from PIL import Image

try:
    from lerobot.datasets.utils import dataset_to_policy_features
except ImportError:  # newer versions, such as 0.6.1, have it elsewhere
    from lerobot.utils.feature_utils import dataset_to_policy_features

MEAN_ERROR, WORST_ERROR = 6.0, 90.0  # grey levels that H.264 may be off, beside what halving the resolution of colour does
TASKS = ("grasp", "push", "poke", "observe")


def native_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of all shards, in order."""
    return [row for path in sorted(folder.glob("shard-*.parquet")) for row in pq.read_table(path).to_pylist()]


def picture(data: bytes) -> NDArray[np.float64]:
    """An encoded picture as [3, h, w] in 0..255."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64).transpose(2, 0, 1)


def pictures_of(row: dict[str, Any], camera: str) -> list[NDArray[np.float64]]:
    """What an episode's frames should show."""
    film = row.get("film" if camera == "top" else f"{camera}_film")
    if film:
        with av.open(io.BytesIO(film), "r") as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return [frame.astype(np.float64).transpose(2, 0, 1) for frame in frames]
    prefix = "" if camera == "top" else f"{camera}_"
    return [picture(row[f"{prefix}{when}"]) for when in ("before", "after")]


def shown_columns(rows: list[dict[str, Any]], cameras: list[str]) -> set[str]:
    """The columns that frames show, which need not stand beside them."""
    prefixes = ["" if camera == "top" else f"{camera}_" for camera in cameras]
    films = {f"{prefix}film" for prefix in prefixes}
    stills = {f"{prefix}{when}" for prefix in prefixes for when in ("before", "after")}
    return films if any(row.get(name) for row in rows for name in films) else stills


def with_coarse_colour(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A picture [3, h, w] as it looks when colour, not brightness, has half the resolution, as in nearly every video."""
    frame = av.VideoFrame.from_ndarray(values.transpose(1, 2, 0).astype(np.uint8).copy(), format="rgb24")
    coarse = frame.reformat(format="yuv420p").to_ndarray(format="rgb24")
    return coarse.astype(np.float64).transpose(2, 0, 1)


def check_picture(given: torch.Tensor, wanted: NDArray[np.float64], exact: bool, name: str) -> float:
    """See that a loaded picture is the native one; returns its mean error in grey levels."""
    levels = given.numpy().astype(np.float64) * 255
    assert levels.shape == wanted.shape, (name, levels.shape, wanted.shape)
    error = np.abs(levels - wanted)
    if exact:
        assert error.max() < 1e-3, (name, error.max())
    else:
        coded = np.abs(levels - with_coarse_colour(wanted))
        assert coded.mean() < MEAN_ERROR, (name, coded.mean())
        assert coded.max() < WORST_ERROR, (name, coded.max())
    return float(error.mean())


def same(given: Any, wanted: Any) -> bool:
    """Whether a loaded value is the native one, as float32 where it is not whole."""
    values = np.asarray(wanted, np.float32).reshape(-1)
    return bool(np.array_equal(np.asarray(given, np.float32).reshape(-1), values))


def cameras(data: LeRobotDataset) -> list[str]:
    """Names of the cameras."""
    return [key.removeprefix("observation.images.") for key in data.meta.camera_keys]


def check_frames(data: LeRobotDataset, rows: list[dict[str, Any]]) -> tuple[int, float]:
    """Compare every frame; returns how many there are and the mean error of pictures."""
    place, errors = 0, []
    names = data.meta.features["action"]["names"]
    for episode, row in enumerate(rows):
        shown = {camera: pictures_of(row, camera) for camera in cameras(data)}
        length = len(next(iter(shown.values())))
        for k in range(length):
            item = data[place]
            where = f"episode {episode} frame {k}"
            assert item["episode_index"] == episode, where
            assert item["frame_index"] == k, where
            assert item["index"] == place, where
            assert abs(float(item["timestamp"]) - k / data.fps) < 1e-6, where
            assert item["task"] == TASKS[row["task"]], where
            for camera, wanted in shown.items():
                exact = data.meta.features[f"observation.images.{camera}"]["dtype"] == "image"
                errors.append(check_picture(item[f"observation.images.{camera}"], wanted[k], exact, f"{where} {camera}"))
            for key in data.meta.features:
                if key.startswith("interaction."):
                    assert same(item[key], row[key.removeprefix("interaction.")]), (where, key)
            check_labels(item, row, names, k, length, where)
            place += 1
    assert place == len(data) == data.meta.total_frames
    return place, float(np.mean(errors))


def check_labels(item: dict[str, Any], row: dict[str, Any], names: list[str], k: int, length: int, where: str) -> None:
    """Compare state, action and success."""
    task = TASKS[row["task"]]
    at = row["acted_place"] * 7
    state = row["states_after" if k == length - 1 else "states_before"][at : at + 7]
    assert same(item["observation.state"][:7], state), where
    mine = [value for name, value in zip(names, item["action"].tolist(), strict=True) if name.split(".")[0] == task]
    others = [value for name, value in zip(names, item["action"].tolist(), strict=True) if name.split(".")[0] != task]
    assert others == [0.0] * len(others), where
    assert set(mine) <= set(row[task]), where
    assert mine, where
    assert bool(item["next.success"]) == (bool(row["success"]) and k >= length - 2), where
    assert bool(item["next.done"]) == (k >= length - 2), where


def check_beside(root: Path, rows: list[dict[str, Any]], shown: set[str]) -> int:
    """Compare the columns that LeRobot has no place for; returns how many there are."""
    found = [row for path in sorted(root.glob("interactions/*/*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert len(found) == len(rows)
    for number, (given, row) in enumerate(zip(found, rows, strict=True)):
        assert given["episode_index"] == number
        assert set(row) - set(given) <= shown, set(row) - set(given)
        for name in given.keys() & row.keys():
            assert given[name] == row[name], (number, name)
    return len(found[0].keys() & rows[0].keys())


def check_statistics(data: LeRobotDataset) -> None:
    """Compare ``stats.json`` with the plain figures of all frames."""
    for key in data.meta.features:
        if key in data.meta.camera_keys:
            continue
        values = np.asarray(data.hf_dataset.with_format("numpy")[key], np.float64).reshape(len(data), -1)
        seen = data.meta.stats[key]
        for name, wanted in (("min", values.min(0)), ("max", values.max(0)), ("mean", values.mean(0)), ("std", values.std(0))):
            assert np.allclose(seen[name], wanted, rtol=1e-5, atol=1e-7), (key, name)
        assert seen["count"] == [len(data)]
        for share in (1, 10, 50, 90, 99):
            assert np.allclose(seen[f"q{share:02d}"], np.quantile(values, share / 100, axis=0), rtol=1e-4, atol=1e-6), (
                key,
                share,
            )
    for key in data.meta.camera_keys:
        assert data.meta.stats[key]["mean"].shape == (3, 1, 1)
        first = np.stack([data[k][key].numpy() for k in range(min(len(data), 40))])
        assert np.abs(first.mean(axis=(0, 2, 3)) - data.meta.stats[key]["mean"].ravel()).max() < 0.1


def check_deltas(root: Path, rows: list[dict[str, Any]], whole: LeRobotDataset) -> None:
    """Ask for the next picture and the state before together with each frame, and load a few episodes alone and in batches."""
    step = 1 / whole.fps
    key = whole.meta.camera_keys[0]
    wanted = {key: [0.0, step], "action": [0.0, step], "observation.state": [-step, 0.0]}
    data = LeRobotDataset("local/export", root=root, delta_timestamps=wanted, video_backend="pyav")
    for k in range(min(len(data), 12)):
        item = data[k]
        last = bool(item[f"{key}_is_pad"][1])
        after = whole[k if last else k + 1]
        assert last == (k + 1 == len(data) or whole[k + 1]["episode_index"] != whole[k]["episode_index"])
        assert torch.equal(item[key][0], whole[k][key])
        assert torch.equal(item[key][1], after[key])
        assert torch.equal(item["action"][1], after["action"])
        assert bool(item["observation.state_is_pad"][0]) == (int(item["frame_index"]) == 0)
    alone = LeRobotDataset("local/export", root=root, episodes=[1, len(rows) - 1], video_backend="pyav")
    assert {int(alone[k]["episode_index"]) for k in range(len(alone))} == {1, len(rows) - 1}
    batches: Iterator[Any] = iter(torch.utils.data.DataLoader(whole, batch_size=8, shuffle=True))
    assert next(batches)[key].shape[:2] == (8, 3)


def check(native: Path, root: Path) -> str:
    """Compare one export; returns what was found, in words."""
    rows = native_rows(native)
    data = LeRobotDataset("local/export", root=root, video_backend="pyav")
    assert data.num_episodes == len(rows)
    assert sorted(data.meta.tasks.index) == sorted({TASKS[row["task"]] for row in rows})
    frames, error = check_frames(data, rows)
    columns = check_beside(root, rows, shown_columns(rows, cameras(data)))
    check_statistics(data)
    check_deltas(root, rows, data)
    policy = dataset_to_policy_features(data.meta.features)
    assert {"observation.state", "action", *data.meta.camera_keys} == set(policy), policy
    kind = data.meta.features[data.meta.camera_keys[0]]["dtype"]
    json.dumps(data.meta.info["features"])
    return (
        f"{root}: lerobot {lerobot.__version__} reads {len(rows)} episodes, {frames} frames of {', '.join(cameras(data))} "
        f"as {kind} (mean error {error:.2f} grey levels), {len(data.meta.features)} features, {columns} columns beside: "
        "as in the native rows"
    )


if __name__ == "__main__":
    for export in sys.argv[2:]:
        print(check(Path(sys.argv[1]), Path(export)))
