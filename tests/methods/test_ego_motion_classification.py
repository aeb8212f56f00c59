"""Ego-motion classification: bins of equal width from training motions, mirrored motions, the cost of not knowing, scores."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import Listed, MemoryFrames
from torch import Tensor

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import adopt_buffers
from embodied_ssl.datasets.kitti_odometry import KittiOdometry
from embodied_ssl.datasets.motion import FORWARD, LEFT, LEFT_YAW, Axis
from embodied_ssl.datasets.source import Sample
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.ego_motion_classification import (
    DARK,
    EgoMotionClassification,
    EgoMotionClassificationConfig,
    MotionBins,
    strips_of,
)
from embodied_ssl.views.marks import RIGHT, WRONG

JOINS = ["maps", "vectors"]


def build(**settings: object) -> EgoMotionClassification:
    torch.manual_seed(0)
    return EgoMotionClassificationConfig(**{"size": 32, **settings}).build(BackboneConfig("conv4").build())  # type: ignore[arg-type]


def sample(motions: list[list[float]]) -> Sample:
    """Frame k is of grey level 10 k on the left and 10 k + 100 on the right."""
    pixels = np.zeros((len(motions) + 1, 32, 32, 3), np.uint8)
    for k in range(len(pixels)):
        pixels[k, :, :16], pixels[k, :, 16:] = 10 * k, 10 * k + 100
    given = np.array(motions, float) if motions else np.zeros((0, 2))
    return {"frames": MemoryFrames(pixels), "frame": 0, "later": np.arange(1, len(pixels)), "motions": given}


def source(axes: tuple[Axis, ...] = (FORWARD, LEFT_YAW), count: int = 400) -> Listed:
    rng = generator("motions")
    made = Listed([sample(rng.normal(size=(3, len(axes))).tolist()) for _ in range(count)])
    made.motion_axes = axes
    made.motion_unit = "metres, radians"
    return made


# --- bins ---------------------------------------------------------------------------------------------------------------


def slow_bin(value: float, mean: float, deviation: float, bins: int, reach: float) -> int:
    z = (value - mean) / deviation
    for number in range(bins):
        if -reach + 2 * reach * number / bins <= z < -reach + 2 * reach * (number + 1) / bins:
            return number + 1
    return 0 if z < 0 else bins + 1


def test_bins_are_of_equal_width_with_one_more_at_either_end() -> None:
    bins = MotionBins(np.array([1.0, -2.0]), np.array([0.5, 3.0]), 20, 3.0)
    motions = generator("bins").normal(size=(500, 2)) * [1.5, 9] + [1.0, -2.0]
    found = bins.of(motions)
    for row, motion in zip(found, motions, strict=True):
        expected = [slow_bin(v, m, d, 20, 3.0) for v, m, d in zip(motion, bins.mean, bins.deviation, strict=True)]
        assert row.tolist() == expected
    assert found.min() == 0
    assert found.max() == 21


def test_bins_are_made_of_the_motions_that_are_drawn() -> None:
    """Of the first two of three motions a sample, mirrored ones too: yaw has mean 0 whatever the drives turned."""
    made = source()
    for one in made.samples:
        one["motions"] += [5.0, 2.0]
        one["motions"][2] = 1e6  # beyond the gap
    method = build(gap=2)
    method.fit(made, generator(0))
    assert method.bins.mean == pytest.approx([5.0, 0.0], abs=0.15)
    assert method.bins.mean[1] == pytest.approx(0, abs=1e-12)
    assert method.bins.deviation == pytest.approx([1.0, math.sqrt(5)], rel=0.1)
    bare = build(gap=2, flip=False)
    bare.fit(made, generator(0))
    assert bare.bins.mean == pytest.approx([5.0, 2.0], abs=0.15)


def test_a_mirrored_pair_has_the_mirrored_bin() -> None:
    method = build()
    method.fit(source(), generator(0))
    given, seen = sample([[0.3, 0.7]]), Counter[bool]()
    for i in range(40):
        drawn = method.view.draw(given, generator(i))
        mirrored = bool(drawn["before"][0, 0, 0] > drawn["before"][0, -1, 0])
        assert bool(drawn["after"][0, 0, 0] > drawn["after"][0, -1, 0]) == mirrored
        np.testing.assert_allclose(drawn["motion"], [0.3, -0.7 if mirrored else 0.7], rtol=1e-6)
        plain = method.bins.of(np.array([0.3, 0.7]))
        assert drawn["bin"].tolist() == [plain[0], 21 - plain[1] if mirrored else plain[1]]
        seen[mirrored] += 1
    assert set(seen) == {True, False}


@pytest.mark.parametrize(("gap", "expected"), [(0, {1, 2, 3, 4, 5}), (2, {1, 2}), (9, {1, 2, 3, 4, 5})])
def test_pairs_are_drawn_evenly_within_the_gap_and_belong_to_their_motion(gap: int, expected: set[int]) -> None:
    method = build(gap=gap, flip=False)
    method.fit(source(), generator(0))
    given = sample([[k + 0.5, -k] for k in range(1, 6)])
    drawn = Counter[int]()
    for i in range(600):
        one = method.view.draw(given, generator(i))
        frame = int(one["after"][0, 0, 0]) // 10
        np.testing.assert_allclose(one["motion"], [frame + 0.5, -frame])
        drawn[frame] += 1
    assert set(drawn) == expected
    assert min(drawn.values()) / 600 == pytest.approx(1 / len(expected), abs=0.06)


def test_motions_that_are_not_known_are_passed_over() -> None:
    method = build(flip=False)
    made = source()
    for one in made.samples[::2]:
        one["motions"][1] = np.nan
    method.fit(made, generator(0))
    assert np.isfinite(method.bins.deviation).all()
    given = sample([[1.0, 0.0], [np.nan, 0.0], [3.0, 0.0]])
    assert {float(method.view.draw(given, generator(i))["motion"][0]) for i in range(40)} == {1.0, 3.0}
    with pytest.raises(BadItem, match="no later frame with a known motion"):
        method.view.draw(sample([[np.nan, 0.0]]), generator(0))


def test_the_control_sees_no_motion() -> None:
    """A picture that is the same before and after gets the same answer from the pair and from the control."""
    backbone = BackboneConfig("conv4").build().eval()
    method = EgoMotionClassificationConfig(size=32).build(backbone).eval()
    batch = pictures()
    with torch.no_grad():
        list(method.top.layers)[-1].weight.mul_(300)  # type: ignore[arg-type]
    still = method(backbone, {**batch, "before": batch["after"]}).answers
    assert torch.equal(still["guess"], still["guess_unmoved"])
    assert torch.equal(method(backbone, batch).answers["guess_unmoved"], still["guess"])
    assert "guess_unmoved" not in method.train()(backbone, batch).answers


def test_a_frame_with_nothing_after_it_is_a_bad_item() -> None:
    method = build()
    method.fit(source(), generator(0))
    with pytest.raises(BadItem, match="no later frame within the horizon"):
        method.view.draw(sample([]), generator(0))


# --- what cannot be fitted ------------------------------------------------------------------------------------------------


def test_another_number_of_axes_is_refused_with_the_setting_to_change() -> None:
    with pytest.raises(UserError, match=r"motions along forward, left, left_yaw; set --set method\.axes=3"):
        build().fit(source((FORWARD, LEFT, LEFT_YAW)), generator(0))


def test_a_mirror_of_unknown_effect_is_refused() -> None:
    strange = source((FORWARD, Axis("elbow", "bent", "straight", 0)))
    with pytest.raises(UserError, match=r"mirror image does to elbow is not known.*set --set method\.flip=false"):
        build().fit(strange, generator(0))
    build(flip=False).fit(strange, generator(0))


def test_an_axis_along_which_nothing_moves_is_refused() -> None:
    made = source()
    for one in made.samples:
        one["motions"][:, 1] = 0
    with pytest.raises(UserError, match="nothing moves along left_yaw; leave that out"):
        build().fit(made, generator(0))


@pytest.mark.parametrize("settings", [{"axes": 0}, {"bins": 0}, {"gap": -1}, {"reach": 0.0}, {"dropout": 1.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UserError, match="give "):
        build(**settings)


# --- answers --------------------------------------------------------------------------------------------------------------


def pictures(axes: int = 2, count: int = 6) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    before, after = (torch.randn(count, 3, 32, 32, generator=rng) for _ in range(2))
    return {"before": before, "after": after, "bin": torch.randint(0, 22, (count, axes), generator=rng)}


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("axes", [1, 3])
def test_not_knowing_costs_log_of_the_bins_for_every_axis(join: str, axes: int) -> None:
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build()
    method = EgoMotionClassificationConfig(size=32, axes=axes, join=join).build(backbone)  # type: ignore[arg-type]
    last = list(method.top.layers)[-1]  # type: ignore[arg-type]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    assert method(backbone, pictures(axes)).loss.item() == pytest.approx(axes * math.log(22), rel=1e-6)


@pytest.mark.parametrize("join", JOINS)
def test_the_loss_is_the_sum_of_each_axes_cross_entropy_one_pair_at_a_time(join: str) -> None:
    """In eval mode pairs do not see each other: the batch's loss is the mean of the loss of each pair, first frame first."""
    torch.manual_seed(0)
    backbone = BackboneConfig("conv4").build().eval()
    method = EgoMotionClassificationConfig(size=32, join=join).build(backbone).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        list(method.top.layers)[-1].weight.mul_(300)  # type: ignore[arg-type]
    batch = pictures()
    whole = method(backbone, batch)
    alone = [method(backbone, {key: value[i : i + 1] for key, value in batch.items()}) for i in range(6)]
    torch.testing.assert_close(whole.loss, torch.stack([step.loss for step in alone]).mean())
    turned = method(backbone, {**batch, "before": batch["after"], "after": batch["before"]})
    assert not torch.allclose(turned.loss, whole.loss)


def test_scores_by_hand() -> None:
    """Forward: bins 4 and 9 met, recall 1 and 1/2; yaw: always 11, of which a third are right and all but one near."""
    method = build()
    method.fit(source(), generator(0))
    truth = torch.tensor([[4, 11], [4, 10], [4, 12], [9, 11], [9, 12], [9, 15]])
    truth = torch.cat([truth, truth])
    guess = torch.tensor([[4, 11], [4, 11], [4, 11], [9, 11], [1, 11], [3, 11]])
    guess = torch.cat([guess, torch.tensor([[4, 11], [4, 11], [4, 11], [9, 11], [9, 11], [8, 11]])])
    scores = method.score({"bin": truth.float(), "guess": guess.float(), "guess_unmoved": truth.float()})
    assert scores["forward_balanced_accuracy"] == pytest.approx((1 + 3 / 6) / 2)
    assert scores["chance_forward_balanced_accuracy"] == 0.5
    assert scores["forward_within_one_bin"] == pytest.approx(10 / 12)
    assert scores["chance_forward_within_one_bin"] == 0.5
    assert scores["left_yaw_balanced_accuracy"] == scores["chance_left_yaw_balanced_accuracy"] == 0.25
    assert scores["left_yaw_within_one_bin"] == pytest.approx(10 / 12)
    assert scores["chance_left_yaw_within_one_bin"] == pytest.approx(10 / 12)


def test_no_constant_answer_beats_chance() -> None:
    method = build()
    method.fit(source(), generator(0))
    truth = method.bins.of(generator("truth").normal(size=(500, 2)))
    for answer in range(22):
        same = torch.full((500, 2), answer)
        scores = method.score({"bin": torch.from_numpy(truth), "guess": same, "guess_unmoved": same})
        for name in ("forward_balanced_accuracy", "left_yaw_within_one_bin", "left_yaw_balanced_accuracy_unmoved"):
            assert scores[name] <= scores[f"chance_{name}"] + 1e-6


def test_what_is_fitted_survives_the_state_dict() -> None:
    method, other = build(), build()
    method.fit(source(), generator(0))
    adopt_buffers(other, method.state_dict())
    other.load_state_dict(method.state_dict())
    assert other.names == ["forward", "left_yaw"]
    np.testing.assert_array_equal(other.bins.deviation, method.bins.deviation)
    described = method.describe()["axes"]
    assert [row["name"] for row in described] == ["forward", "left_yaw"]  # type: ignore[attr-defined]
    assert described[0]["bin_width"] == pytest.approx(0.3 * method.bins.deviation[0])  # type: ignore[index]


def test_the_three_axes_of_the_paper_from_poses(tmp_path: Path) -> None:
    """Mirrored by themselves: left and left_yaw turn over, forward stays."""
    spec = KittiOdometry.tiny(tmp_path / "kitti")
    drives = KittiOdometry(spec.root, axes=("left", "forward", "left_yaw"), short_side=48).open("train")
    method = build(axes=3, gap=7)
    method.fit(drives, generator(0))
    assert method.names == ["left", "forward", "left_yaw"]
    assert method.mirror.tolist() == [-1, 1, -1]
    assert method.view.names == ("left", "forward", "left_yaw")  # type: ignore[attr-defined]
    drawn = method.view.draw(drives[0], generator(0))
    assert drawn["bin"].shape == (3,)


def test_strips_mark_the_true_bin_and_the_answer_below_it() -> None:
    """Of 8 bins on 32 pixels, each is 4 wide: bin 1 of the first axis answered as 2, bin 6 of the second as 0."""
    (drawn,) = strips_of(torch.tensor([[1, 6]]), torch.tensor([[2, 0]]), 8, 32)
    for row, column, colour in ((3, 5, DARK), (10, 9, RIGHT), (19, 25, DARK), (26, 1, WRONG)):
        assert drawn[:, row, column].tolist() == pytest.approx(colour)
    assert drawn[:, 3, 9].tolist() == pytest.approx([0.94] * 3)
