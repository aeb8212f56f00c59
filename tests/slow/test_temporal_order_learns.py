"""Temporal order is learned from real first-person video, and nothing is learned from, or seen in, video that stands still."""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import Listed, MemoryFrames

from embodied_ssl import checkpoint, config, held_out
from embodied_ssl.config import Run, from_json
from embodied_ssl.core import Learner
from embodied_ssl.datasets.source import Source
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.evaluation.pretext import evaluate_pretext
from embodied_ssl.keys import generator
from embodied_ssl.loader import Feed, Stream
from embodied_ssl.trainer import pretrain

pytestmark = [pytest.mark.slow, pytest.mark.data]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    roots = f"{data_root}/g1_robot,{data_root}/so101_cloth"
    run = dataclasses.replace(config.load("temporal_order")[0], data=VideoFolder(roots), steps=300, held_out_every=0)
    return pretrain([run], tmp_path_factory.mktemp("order") / "run")


def still(video: Source, count: int = 200) -> Source:
    """One frame of each video, shown over and over under fresh noise."""
    samples, names = [], []
    for index in range(len(video)):
        frame = video[index]["frames"].take([10])
        noise = generator("still", index).normal(0, 2, (count, *frame.shape[1:]))
        samples.append({"frames": MemoryFrames((frame + noise).clip(0, 255).astype(np.uint8)), "index": index})
        names.append(video.recordings[index])
    source = Listed(samples)
    source.recordings = names
    return source


def test_held_out_recordings_are_put_in_order(trained: Path) -> None:
    rows = {(row.role, row.metric): row for row in evaluate_pretext(trained, "", CPU)}
    for metric in ("balanced_accuracy", "auc"):
        run = rows["run", metric]
        assert run.interval is not None
        assert run.interval[0] > 0.5
        assert run.interval[0] > rows["random", metric].value


def test_nothing_is_seen_in_a_still_video(trained: Path) -> None:
    stored = checkpoint.load_checkpoint(trained / "checkpoints" / "last.pt")
    run: Run = from_json(json.loads(stored["config"]))[0]
    backbone = run.backbone.build()
    run = dataclasses.replace(run, method=dataclasses.replace(run.method, distinct=0.0))  # type: ignore[type-var]
    learner = Learner(backbone, run.method.build(backbone))
    checkpoint.adopt_buffers(learner, stored["learner"])
    learner.load_state_dict(stored["learner"])
    assert isinstance(run.data, VideoFolder)
    source = still(run.data.open("held_out"))
    feed = Feed({"": Stream("", source, learner.method.view, 32)}, 0)
    replies = held_out.replies(learner, feed, 1024, CPU, nullcontext)[""]
    low, high = replies.intervals()["auc"]
    assert low - 0.02 <= 0.5 <= high + 0.02
    assert replies.figures["balanced_accuracy"] == pytest.approx(0.5, abs=0.03)
