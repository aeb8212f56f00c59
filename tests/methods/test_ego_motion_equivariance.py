"""Ego-motion equivariance: the score of exact maps, fair draws of patterns, mirrors that mirror the answer too."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from made_up import Listed, MemoryFrames
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import adopt_buffers
from embodied_ssl.core import View
from embodied_ssl.datasets.source import Sample
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivariance, EgoMotionEquivarianceConfig, MotionPair
from embodied_ssl.methods.embodied.motion_patterns import MIRROR, MotionPatterns

PATTERNS = MotionPatterns(
    scale=np.ones(2),
    centres=np.array([[0.3, -1.0], [0.0, 0.0], [1.0, 0.0], [0.3, 1.0]]),
    kept=np.array([0, 2, 3]),
    sizes=np.ones(4) / 4,
)
RIGHT, FORWARD, LEFT, NONE = 0, 1, 2, -1


class Given(nn.Module):
    def forward(self, x: Tensor) -> object:
        return type("Features", (), {"vector": x})


def exact(n: int = 60) -> tuple[EgoMotionEquivariance, dict[str, Tensor]]:
    """Features that each pattern shifts by a number of places of its own, and maps that know it."""
    method = EgoMotionEquivariance(16, EgoMotionEquivarianceConfig(dim=16))
    shifts = (0, 3, 8)
    with torch.no_grad():
        method.project.weight.copy_(torch.eye(16))
        method.project.bias.zero_()
        for number, shift in enumerate(shifts):
            method.maps[number] = torch.eye(16).roll(shift, 0)
    before = F.one_hot(torch.arange(n) % 16, 16).float() * 4
    pattern = torch.arange(n) % 3
    after = torch.stack([row.roll(shifts[int(g)]) for row, g in zip(before, pattern, strict=True)])
    return method, {"before": before, "after": after, "pattern": pattern}


def test_exact_maps_have_no_loss_and_a_perfect_score() -> None:
    method, batch = exact()
    step = method(Given(), batch)
    assert step.loss.item() == 0
    scores = method.score(step.answers)
    assert scores["balanced_accuracy"] == 1
    assert scores["chance_balanced_accuracy"] == pytest.approx(1 / 3)


def test_maps_that_are_exchanged_score_nothing() -> None:
    method, batch = exact()
    with torch.no_grad():
        method.maps.copy_(method.maps[[1, 2, 0]].clone())
    assert method.score(method(Given(), batch).answers)["balanced_accuracy"] == 0


def test_a_constant_answer_scores_chance_whichever_patterns_are_met() -> None:
    """The chance level is what looking at nothing earns: one over the patterns that were met."""
    method = EgoMotionEquivariance(4, EgoMotionEquivarianceConfig(dim=4))
    for met in ((0, 1, 2), (0, 2)):
        pattern = torch.tensor(met).repeat(10)
        always_0 = torch.tensor([[0.0, 1, 1]]).repeat(len(pattern), 1)
        scores = method.score({"distance": always_0, "pattern": pattern})
        assert scores["balanced_accuracy"] == pytest.approx(1 / len(met))
        assert scores["chance_balanced_accuracy"] == pytest.approx(1 / len(met))


def test_balanced_means_balanced() -> None:
    method = EgoMotionEquivariance(4, EgoMotionEquivarianceConfig(dim=4))
    pattern = torch.tensor([0] * 90 + [1] * 5 + [2] * 5)
    scores = method.score({"distance": torch.tensor([[0.0, 1, 1]]).repeat(100, 1), "pattern": pattern})
    assert scores["balanced_accuracy"] == pytest.approx(1 / 3)


def test_pairs_of_no_pattern_are_pushed_away_and_not_scored() -> None:
    method, batch = exact()
    none = torch.full_like(batch["pattern"], -1)
    step = method(Given(), {**batch, "pattern": none})
    assert step.loss.item() > 0
    assert method.score(step.answers) == {}


def test_maps_start_at_the_identity() -> None:
    method = EgoMotionEquivarianceConfig().build(BackboneConfig("conv4").build())
    assert torch.equal(method.maps.detach(), torch.eye(64).expand(3, 64, 64))


# --- the view ---------------------------------------------------------------------------------------------------------


def sample(motions: list[list[float]]) -> Sample:
    """Frame k is grey level 10 k on the left and 10 k + 100 on the right."""
    pixels = np.zeros((len(motions) + 1, 32, 32, 3), np.uint8)
    for k in range(len(pixels)):
        pixels[k, :, :16], pixels[k, :, 16:] = 10 * k, 10 * k + 100
    later = np.arange(1, len(pixels))
    return {"frames": MemoryFrames(pixels), "frame": 0, "later": later, "motions": np.array(motions, float).reshape(-1, 2)}


def pair(flip: bool, other_share: float = 0.1) -> MotionPair:
    return MotionPair(16, PATTERNS, other_share, flip, (0.8, 1.0))


MANY = sample([[1.0, 0.0]] * 8 + [[0.3, 1.0]])  # nearly always driving on, and one left turn


def test_patterns_on_offer_are_drawn_evenly() -> None:
    drawn = Counter(int(pair(False).draw(MANY, generator(i))["pattern"]) for i in range(1000))
    assert set(drawn) == {FORWARD, LEFT}
    assert drawn[LEFT] / 1000 == pytest.approx(0.5, abs=0.05)


def test_motions_of_no_pattern_take_their_share() -> None:
    given = sample([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    drawn = Counter(int(pair(False, 0.2).draw(given, generator(i))["pattern"]) for i in range(1000))
    assert drawn[NONE] / 1000 == pytest.approx(0.2, abs=0.04)


def test_a_frame_with_motions_of_no_pattern_only_gives_one() -> None:
    assert pair(False).draw(sample([[0.0, 0.0]]), generator(0))["pattern"] == NONE


def test_a_mirrored_pair_has_the_mirrored_motion_and_pattern() -> None:
    left = sample([[0.3, 1.0]])
    seen: Counter[tuple[bool, int]] = Counter()
    for i in range(60):
        drawn = pair(True).draw(left, generator(i))
        mirrored = bool(drawn["before"][0, 0, 0] > drawn["before"][0, -1, 0])
        assert bool(drawn["after"][0, 0, 0] > drawn["after"][0, -1, 0]) == mirrored
        np.testing.assert_allclose(drawn["motion"], np.array([0.3, 1.0]) * (MIRROR if mirrored else 1))
        seen[mirrored, int(drawn["pattern"])] += 1
    assert set(seen) == {(False, LEFT), (True, RIGHT)}


def test_both_frames_share_one_crop() -> None:
    still = sample([[1.0, 0.0]])
    still["frames"].pixels[1] = still["frames"].pixels[0]
    for i in range(5):
        drawn = pair(True).draw(still, generator(i))
        assert np.array_equal(drawn["before"], drawn["after"])


def test_the_frame_belongs_to_the_motion() -> None:
    drawn = pair(False).draw(MANY, generator(3))
    frame = int(drawn["after"][0, 0, 0]) // 10
    np.testing.assert_allclose(drawn["motion"], MANY["motions"][frame - 1])


def test_a_frame_with_nothing_after_it_is_a_bad_item() -> None:
    with pytest.raises(BadItem, match="no later frame within the horizon"):
        pair(False).draw(sample([]), generator(0))


# --- fitted -----------------------------------------------------------------------------------------------------------


def fitted() -> EgoMotionEquivariance:
    method = EgoMotionEquivarianceConfig(size=16, clusters=4).build(BackboneConfig("conv4").build())
    rng = generator("fit")
    kinds = np.array([[0.3, 1.0], [0.3, -1.0], [1.0, 0.0], [0.0, 0.0]])
    source = Listed([{"motions": kinds[i % 4 : i % 4 + 1] + rng.normal(size=(1, 2)) * 0.05} for i in range(200)])
    source.motion_unit = "metres, radians"
    method.fit(source, generator(0))
    return method


def test_what_is_fitted_is_seen_by_the_view_and_described() -> None:
    method = fitted()
    described = method.describe()
    assert [row["name"] for row in described["patterns"]] == ["right", "forward", "left"]  # type: ignore[attr-defined]
    assert described["patterns"][2]["left_yaw"] == pytest.approx(1.0, abs=0.05)  # type: ignore[index]
    assert described["motion_unit"] == "metres, radians"
    np.testing.assert_array_equal(method.view.patterns.centres, method.patterns.centres)  # type: ignore[attr-defined]


def test_another_view_around_it_sees_what_is_fitted_too() -> None:
    class Around(View):
        def __init__(self, view: View) -> None:
            self.view = view

        def draw(self, sample: Sample, rng: np.random.Generator) -> dict[str, np.ndarray]:
            return self.view.draw(sample, rng)

    method = fitted()
    method.see_through(Around)
    assert isinstance(method.view, Around)
    assert method.view.draw(sample([[0.3, 1.0]]), generator(0))["pattern"] in (LEFT, RIGHT)


def test_patterns_survive_the_state_dict() -> None:
    method = fitted()
    other = EgoMotionEquivarianceConfig(size=16, clusters=4).build(BackboneConfig("conv4").build())
    adopt_buffers(other, method.state_dict())  # how many clusters there are is found, not configured
    other.load_state_dict(method.state_dict())
    np.testing.assert_array_equal(other.patterns.centres, method.patterns.centres)


@pytest.mark.parametrize(("clusters", "keep"), [(6, 1), (3, 4)])
def test_keeping_what_cannot_be_told_apart_is_refused(clusters: int, keep: int) -> None:
    with pytest.raises(UserError, match=f"keep is {keep} of {clusters} clusters"):
        EgoMotionEquivarianceConfig(clusters=clusters, keep=keep)
