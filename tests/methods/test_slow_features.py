"""Slow features: far frames are far, near ones near, whatever the ends; the score of time itself; collapse is seen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from made_up import MemoryFrames
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.core import Step
from embodied_ssl.datasets.source import Sample
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.slow_features import SlowFeatures, SlowFeaturesConfig, pick_near_and_far
from embodied_ssl.views.marks import RIGHT, WRONG

ONE_SHOT = np.zeros(1000, np.int64)


class Given(nn.Module):
    def forward(self, x: Tensor) -> object:
        return type("Features", (), {"vector": x.flatten(1)})


def method(**settings: object) -> SlowFeatures:
    """Features are the pictures themselves: one number each."""
    config = SlowFeaturesConfig(dim=1, **settings)  # type: ignore[arg-type]
    made = SlowFeatures(1, config, config.build(BackboneConfig("conv4").build()).view)  # type: ignore[arg-type]
    with torch.no_grad():
        made.project.weight.fill_(1)
    return made


def batch(one: list[float], near: list[float], far: list[float], has_far: list[bool] | None = None) -> dict[str, Tensor]:
    three = torch.tensor([one, near, far]).T.reshape(-1, 3, 1, 1, 1)
    return {"three": three, "has_far": torch.tensor(has_far or [True] * len(one))}


# --- which frames ---------------------------------------------------------------------------------------------------------


def uneven(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.cumsum(generator("times", seed).uniform(0.02, 0.2, count))


@pytest.mark.parametrize("count", [3, 12, 40, 300])
def test_near_is_near_and_far_is_far_even_at_the_ends(count: int) -> None:
    for seed in range(200):
        seconds = uneven(count, seed)
        shots = np.sort(generator("shots", seed).integers(0, 3, count))
        found = pick_near_and_far(seconds, shots, 0.5, 1.5, generator(seed))
        near = np.abs(seconds[:, None] - seconds) <= 0.5 + 1e-6
        near &= (shots[:, None] == shots) & ~np.eye(count, dtype=bool)
        far = np.abs(seconds[:, None] - seconds) >= 1.5 - 1e-6
        if found is None:
            assert not near.any()
            continue
        (one, other, away), has_far = found
        assert near[one, other]
        assert has_far == bool((near.any(1) & far.any(1)).any())
        assert far[one, away] if has_far else away == one


def test_all_that_may_be_drawn_is_drawn_evenly() -> None:
    """Ten frames of a tenth of a second: near up to 0.2 s, far from 0.4 s on."""
    seconds = np.arange(10) / 10
    drawn = [pick_near_and_far(seconds, ONE_SHOT[:10], 0.2, 0.4, generator(i)) for i in range(6000)]
    triples = [tuple(found[0]) for found in drawn if found is not None]
    ones = Counter(one for one, _, _ in triples)
    assert {one: ones[one] / 6000 for one in range(10)} == pytest.approx(dict.fromkeys(range(10), 0.1), abs=0.02)
    for one, wanted in ((0, [4, 5, 6, 7, 8, 9]), (4, [0, 8, 9]), (9, [0, 1, 2, 3, 4, 5])):
        aways = Counter(away for first, _, away in triples if first == one)
        assert sorted(aways) == wanted
        assert min(aways.values()) > 0.6 * max(aways.values())
    assert {near for one, near, _ in triples if one == 0} == {1, 2}
    assert {near for one, near, _ in triples if one == 5} == {3, 4, 6, 7}


def test_a_cut_parts_near_frames_and_not_far_ones() -> None:
    seconds, shots = np.arange(20) / 10, np.repeat([0, 1], 10)
    for i in range(300):
        found = pick_near_and_far(seconds, shots, 0.3, 0.6, generator(i))
        assert found is not None
        one, near, _ = found[0]
        assert shots[one] == shots[near]


def test_a_recording_too_short_for_far_frames_gives_near_ones_only() -> None:
    sample = recording(6)
    view = SlowFeaturesConfig(size=16, near_seconds=0.1, far_seconds=1.0).build(BackboneConfig("conv4").build()).view
    drawn = view.draw(sample, generator(0))
    assert not drawn["has_far"]
    assert drawn["seconds"][2] == drawn["seconds"][0]


def test_a_single_frame_is_a_bad_item() -> None:
    view = SlowFeaturesConfig(size=16).build(BackboneConfig("conv4").build()).view
    with pytest.raises(BadItem, match=r"no two frames within 0\.5 s"):
        view.draw(recording(1), generator(0))


def recording(count: int) -> Sample:
    """Frame k is of grey level k on the left and k + 100 on the right."""
    pixels = np.zeros((count, 24, 32, 3), np.uint8)
    for k in range(count):
        pixels[k, :, :16], pixels[k, :, 16:] = k, k + 100
    return {"frames": MemoryFrames(pixels)}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_view_shows_the_frames_it_says_through_one_crop_and_mirror(channels: int) -> None:
    backbone = BackboneConfig("conv4", channels=channels).build()
    view = SlowFeaturesConfig(size=16, area=(0.9, 1.0)).build(backbone).view
    mirrors = set()
    for i in range(20):
        drawn = view.draw(recording(90), generator(i))
        numbers = (drawn["seconds"] * 30).round()
        assert 0 < abs(numbers[1] - numbers[0]) <= 15
        assert abs(numbers[2] - numbers[0]) >= 45
        mirrored = bool(drawn["three"][0, 0, 0, 0] > drawn["three"][0, 0, -1, 0])
        mirrors.add(mirrored)
        np.testing.assert_array_equal(drawn["three"][:, 0, -1 if mirrored else 0, 0], numbers)
        rendered = view.render({key: torch.from_numpy(np.asarray(value))[None] for key, value in drawn.items()})
        assert rendered["three"].shape == (1, 3, channels, 16, 16)
        assert all(pictures.shape == (1, 3, 16, 16) for _, pictures in view.panels(rendered))
    assert mirrors == {True, False}


# --- loss and score -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("distance", "expected"), [("l2", 4.0 / 4), ("l1", 2.0 / 2)])
def test_collapsed_features_cost_what_is_said_and_are_seen(distance: str, expected: float) -> None:
    same = [1.0, 1.0, 1.0]
    step = method(distance=distance, margin=2.0)(Given(), batch(same, same, same))
    assert step.loss.item() == pytest.approx(expected)
    assert step.metrics["deviation"] == step.metrics["spread"] == 0
    assert method().score(step.answers) == {"auc": 0.5, "chance_auc": 0.5}


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_a_feature_that_is_the_time_has_a_perfect_score(distance: str) -> None:
    step = method(distance=distance)(Given(), batch([0.0, 5.0, 9.0], [0.2, 4.9, 9.3], [2.0, 1.0, 12.0]))
    assert method().score(step.answers)["auc"] == 1
    backwards = method()(Given(), batch([0.0, 5.0, 9.0], [2.0, 1.0, 12.0], [0.2, 4.9, 9.3]))
    assert method().score(backwards.answers)["auc"] == 0


def test_random_features_score_chance() -> None:
    rng = torch.Generator().manual_seed(0)
    given = {"three": torch.randn(4000, 3, 1, 1, 1, generator=rng), "has_far": torch.ones(4000, dtype=torch.bool)}
    step = method()(Given(), given)
    assert method().score(step.answers)["auc"] == pytest.approx(0.5, abs=0.02)
    assert step.metrics["deviation"] == pytest.approx(1, abs=0.03)


def test_examples_without_a_far_frame_count_for_near_only() -> None:
    """By hand: near pairs 1 and 2 apart, one far pair 0.5 apart of margin 1; half squares, three pairs."""
    step = method()(Given(), batch([0.0, 0.0], [1.0, 2.0], [0.5, 0.0], [True, False]))
    assert step.loss.item() == pytest.approx((0.5 * 1 + 0.5 * 4 + 0.5 * 0.25) / 3)
    assert step.metrics["far_distance"] == pytest.approx(0.5)
    assert len(step.answers["far"]) == 2
    nothing_far = method()(Given(), batch([0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [False, False]))
    assert nothing_far.loss.item() == pytest.approx((0.5 + 2) / 2)
    assert method().score(nothing_far.answers) == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"near_seconds": 2.0}, r"near_seconds is 2\.0 and far_seconds 1\.5; need 0 < near_seconds < far_seconds"),
        ({"margin": 0.0}, "give a margin above 0"),
        ({"area": (0.0, 1.0)}, "area is"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        SlowFeaturesConfig(**settings)  # type: ignore[arg-type]


def test_the_figure_marks_which_near_frames_are_nearer_to_the_network() -> None:
    built = SlowFeaturesConfig(size=32).build(BackboneConfig("conv4").build())
    asked = {"three": torch.zeros(3, 3, 3, 32, 32), "has_far": torch.tensor([True, False, True])}
    step = Step(torch.zeros(()), answers={"near": torch.tensor([0.1, 0.2, 0.9]), "far": torch.tensor([0.5, 0.0, 0.4])})
    _, (caption, near), (_, far) = built.figure(asked, step)
    assert "1 of 2 are nearer" in caption
    assert [tuple(rows.shape) for rows in (near, far)] == [(2, 3, 32, 32)] * 2  # the one without a far frame is no question
    assert torch.allclose(near[:, :, 0, 0], torch.tensor([RIGHT, WRONG]))
    assert built.figure({**asked, "has_far": torch.zeros(3, dtype=torch.bool)}, step) == ()
