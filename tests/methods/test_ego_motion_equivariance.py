"""Ego-motion equivariance: the score of exact maps, fair draws of patterns, mirrors that mirror the answer too."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import Listed, MemoryFrames
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.checkpoint import adopt_buffers
from embodied_ssl.core import Epoch, Learner, Step, View
from embodied_ssl.datasets import motion
from embodied_ssl.datasets.drives import Drives, PoseTrack
from embodied_ssl.datasets.kitti_raw import KittiRaw
from embodied_ssl.datasets.source import Sample
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.embodied.ego_motion_equivariance import (
    EgoMotionEquivariance,
    EgoMotionEquivarianceConfig,
    MotionPair,
    of_maps,
    side_by_side,
)
from embodied_ssl.methods.embodied.motion_patterns import MotionPatterns
from embodied_ssl.methods.embodied.pairs import AS_THEY_ARE
from embodied_ssl.optim import AdamW, parameter_groups
from embodied_ssl.views import marks

PATTERNS = MotionPatterns(
    scale=np.ones(2),
    centres=np.array([[0.3, -1.0], [0.0, 0.0], [1.0, 0.0], [0.3, 1.0]]),
    kept=np.array([0, 2, 3]),
    sizes=np.ones(4) / 4,
)
RIGHT, FORWARD, LEFT, NONE = 0, 1, 2, -1
MIRROR = np.array([1.0, -1.0])


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
    step = method.eval()(Given(), batch)
    assert step.loss.item() == 0
    scores = method.score(step.answers)
    assert scores["balanced_accuracy"] == 1
    assert scores["chance_balanced_accuracy"] == pytest.approx(1 / 3)


def test_maps_that_are_exchanged_score_nothing() -> None:
    method, batch = exact()
    with torch.no_grad():
        method.maps.copy_(method.maps[[1, 2, 0]].clone())
    assert method.score(method.eval()(Given(), batch).answers)["balanced_accuracy"] == 0


def test_a_constant_answer_scores_chance_whichever_patterns_are_met() -> None:
    """The chance level is what looking at nothing earns: one over the patterns that were met."""
    method = EgoMotionEquivariance(4, EgoMotionEquivarianceConfig(dim=4))
    for met in ((0, 1, 2), (0, 2)):
        pattern = torch.tensor(met).repeat(10)
        always_0 = torch.tensor([[0.0, 1, 1]]).repeat(len(pattern), 1)
        scores = method.score({"distance": always_0, "distance_unmoved": always_0, "pattern": pattern})
        assert scores["balanced_accuracy"] == pytest.approx(1 / len(met))
        assert scores["chance_balanced_accuracy"] == pytest.approx(1 / len(met))


def test_balanced_means_balanced() -> None:
    method = EgoMotionEquivariance(4, EgoMotionEquivarianceConfig(dim=4))
    pattern = torch.tensor([0] * 90 + [1] * 5 + [2] * 5)
    constant = torch.tensor([[0.0, 1, 1]]).repeat(100, 1)
    scores = method.score({"distance": constant, "distance_unmoved": constant, "pattern": pattern})
    assert scores["balanced_accuracy"] == pytest.approx(1 / 3)


def test_pairs_of_no_pattern_are_pushed_away_and_not_scored() -> None:
    method, batch = exact()
    none = torch.full_like(batch["pattern"], -1)
    step = method.eval()(Given(), {**batch, "pattern": none})
    assert step.loss.item() > 0
    assert method.score(step.answers) == {}


def test_maps_start_next_to_the_identity() -> None:
    method = EgoMotionEquivarianceConfig().build(BackboneConfig("conv4").build())
    away = method.maps.detach() - torch.eye(64)
    assert 0 < away.abs().max() < 0.01


def left_after_learning(map_rate: float) -> float:
    """What share of the way moved the maps still miss when only they have learned, from pictures that motions turn round."""
    torch.manual_seed(0)
    method = EgoMotionEquivariance(16, EgoMotionEquivarianceConfig(dim=16, map_rate=map_rate))
    with torch.no_grad():
        method.project.weight.copy_(torch.eye(16))
        method.project.bias.zero_()
    method.project.requires_grad_(False)
    optimiser = torch.optim.Adam([method.maps], lr=1e-3 * method.rate("maps", 0.0))
    draw = torch.Generator().manual_seed(0)
    for _ in range(100):
        before = torch.randn(64, 16, generator=draw)
        pattern = torch.randint(3, (64,), generator=draw)
        after = torch.stack([row.roll((0, 3, 8)[int(g)]) for row, g in zip(before, pattern, strict=True)])
        step = method(Given(), {"before": before, "after": after, "pattern": pattern})
        optimiser.zero_grad()
        step.loss.backward()
        optimiser.step()
    turned = pattern > 0
    missed = step.answers["distance"].gather(1, pattern.unsqueeze(1)).squeeze(1)[turned]
    return float((missed / (after - before)[turned].norm(dim=1)).mean())


def test_maps_at_the_rate_of_the_network_stay_at_the_identity() -> None:
    # To turn a picture round, entries of a map must change by 1; Adam moves each by at most its rate a step.
    assert left_after_learning(10) < 0.2
    assert left_after_learning(1) > 0.8
    backbone = BackboneConfig("conv4").build()
    groups = parameter_groups(Learner(backbone, EgoMotionEquivarianceConfig().build(backbone)), AdamW())
    assert "maps" in {group["name"] for group in groups}


def test_a_map_rate_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="give a factor above 0"):
        EgoMotionEquivarianceConfig(map_rate=0)


@pytest.mark.parametrize("margin", [1.0, 0.5])
def test_what_the_loss_is_when_features_say_nothing(margin: float) -> None:
    """Collapsed, every map but the true one pays the margin. All distances at the margin, uninformed features pay it once.

    So below ``margin`` is where something was learned; and shrinking all features is never the way there.
    """
    method, batch = exact()
    method.config = replace(method.config, margin=margin)
    with torch.no_grad():
        method.project.weight.zero_()
    assert method(Given(), batch).loss.item() == pytest.approx(2 * margin)
    with torch.no_grad():
        method.project.bias[0] = margin / 2  # z is one point, of which every map misses z by the margin
        method.maps.copy_(torch.eye(16).index_fill(0, torch.tensor(0), 0).expand(3, 16, 16))
        method.maps[:, 1, 0] = 0
        method.maps[:, 0, 0] = -1
    assert method(Given(), batch).loss.item() == pytest.approx(margin)


def test_features_shrunk_by_half_are_punished() -> None:
    """The margin fixes the scale: the very same geometry at half its size is no longer free of loss."""
    method, batch = exact()
    with torch.no_grad():
        method.project.weight.mul_(1 / 8)
    assert method(Given(), batch).loss.item() > 0


def test_reading_the_place_instead_of_the_motion_shows_in_the_control() -> None:
    """Each pattern is driven in a room of its own, and nothing ever moves: right by the figure, and found out by the control."""
    method = EgoMotionEquivariance(3, EgoMotionEquivarianceConfig(dim=3)).eval()
    with torch.no_grad():
        method.project.weight.copy_(torch.eye(3))
        method.project.bias.zero_()
        for g in range(3):
            method.maps[g] = torch.eye(3)[g].diag()  # leaves room g as it is, and no other
    room = torch.arange(30) % 3
    place = torch.eye(3)[room]
    scores = method.score(method(Given(), {"before": place, "after": place, "pattern": room}).answers)
    assert scores["balanced_accuracy"] == scores["balanced_accuracy_unmoved"] == 1


def test_features_that_show_the_motion_say_nothing_where_nothing_moved() -> None:
    method, batch = exact(600)
    scores = method.score(method.eval()(Given(), batch).answers)
    assert scores["balanced_accuracy"] == 1
    assert scores["balanced_accuracy_unmoved"] == scores["chance_balanced_accuracy_unmoved"] == pytest.approx(1 / 3)


def test_maps_are_measured_against_closed_forms() -> None:
    """Turns of the space stretch nothing; one and its inverse undo each other; the distance of a shift from I is sqrt 2."""
    unit, shift = torch.eye(5), torch.eye(5).roll(2, 0)
    figures = of_maps(torch.stack([shift.T, unit, shift]), np.array([2, 1, 0]))
    assert figures["map_stretch_least"].item() == pytest.approx(1)
    assert figures["map_stretch_most"].item() == pytest.approx(1)
    assert figures["map_from_identity"].item() == pytest.approx(2 / 3 * 2**0.5)
    assert figures["turns_from_identity"].item() == pytest.approx(0, abs=1e-6)
    same = of_maps(torch.stack([2 * unit, unit / 2]), np.array([0, 1]))
    assert (same["map_stretch_least"].item(), same["map_stretch_most"].item()) == (0.5, 2)
    assert "turns_from_identity" not in same


def test_maps_are_measured_with_held_out_figures_only() -> None:
    method, batch = exact()
    assert set(method.train()(Given(), batch).metrics) == {"accuracy"}
    assert "map_from_identity" in method.eval()(Given(), batch).metrics


def test_maps_of_patterns_that_were_not_found_are_left_alone() -> None:
    method, batch = exact()
    method.kept = torch.tensor([0, 2])
    step = method(Given(), {**batch, "pattern": batch["pattern"] % 2})
    assert step.answers["distance"].shape == (60, 2)
    step.loss.backward()
    assert method.maps.grad is not None
    assert not method.maps.grad[2].any()


def test_cells_are_read_apart_from_the_last_map() -> None:
    """The control is the vector: it averages over places, so exchanging left and right halves of the last map changes nothing."""
    backbone = BackboneConfig("conv4").build()
    pictures = torch.rand(2, 3, 32, 32)
    apart = EgoMotionEquivarianceConfig(size=32, cells=2).build(backbone)._read(backbone(pictures))
    assert torch.allclose(apart.view(2, -1, 4).mean(2), backbone(pictures).vector, atol=1e-5)
    assert apart.view(2, -1, 4).std(2).max() > 0
    together = EgoMotionEquivarianceConfig(size=32).build(backbone)._read(backbone(pictures))
    assert torch.equal(together, backbone(pictures).vector)


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


def test_a_motion_that_is_not_finite_is_never_drawn() -> None:
    given = sample([[1.0, 0.0], [np.nan, 0.0], [0.3, np.inf], [0.3, 1.0]])
    drawn = [pair(True).draw(given, generator(i)) for i in range(50)]
    assert all(np.isfinite(one["motion"]).all() for one in drawn)
    assert {abs(float(one["motion"][1])) for one in drawn} == {0.0, 1.0}
    with pytest.raises(BadItem, match="no later frame with a known motion"):
        pair(False).draw(sample([[np.nan, 0.0]]), generator(0))


def test_pairs_are_shown_by_pattern_with_their_motion() -> None:
    view = replace(pair(False), colour=AS_THEY_ARE)
    drawn = [view.draw(MANY, generator(i)) for i in range(40)]
    batch = {key: torch.from_numpy(np.stack([one[key] for one in drawn])) for key in drawn[0]}
    (ahead, straight), (left, turned) = view.panels(view.render(batch))
    assert ahead == "forward (forward 1, left_yaw 0): before | after"
    assert left == "left (forward 0.3, left_yaw 1): before | after"
    assert straight.shape == turned.shape == (6, 3, 16, 33)
    assert (straight[:, :, :, 16] == 1).all()  # white between
    np.testing.assert_allclose(turned[0, 0, 0, [0, -1]] * 255, [0, 190], atol=1)  # frame 0 on the left, frame 9 on the right


# --- fitted -----------------------------------------------------------------------------------------------------------


def fitted() -> EgoMotionEquivariance:
    method = EgoMotionEquivarianceConfig(size=16, clusters=4).build(BackboneConfig("conv4").build())
    rng = generator("fit")
    kinds = np.array([[0.3, 1.0], [0.3, -1.0], [1.0, 0.0], [0.0, 0.0]])
    source = Listed([{"motions": kinds[i % 4 : i % 4 + 1] + rng.normal(size=(1, 2)) * 0.05} for i in range(200)])
    source.motion_unit, source.motion_axes = "metres, radians", (motion.FORWARD, motion.LEFT_YAW)
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


def still_in_the_state(axes: tuple[motion.Axis, ...]) -> EgoMotionEquivariance:
    """A method fitted on motions of these axes, by way of the state dict of another."""
    method = EgoMotionEquivarianceConfig(size=16, clusters=4, keep=2, flip=False).build(BackboneConfig("conv4").build())
    rng = generator("axes")
    kinds = np.concatenate([np.eye(len(axes)), np.zeros((1, len(axes)))]) + 0.01
    source = Listed([{"motions": kinds[i % len(kinds)][None] + rng.normal(size=(1, len(axes))) * 0.05} for i in range(200)])
    source.motion_unit, source.motion_axes = "joint steps", axes
    method.fit(source, generator(0))
    other = EgoMotionEquivarianceConfig(size=16, clusters=4, keep=2, flip=False).build(BackboneConfig("conv4").build())
    adopt_buffers(other, method.state_dict())
    other.load_state_dict(method.state_dict())
    return other


def test_names_and_the_unit_travel_with_the_weights() -> None:
    elbow, grip, wrist = (motion.Axis(name, f"{name} up", f"{name} down", 0) for name in ("elbow", "grip", "wrist"))
    other = still_in_the_state((elbow, grip, wrist))
    assert other.patterns.unit == "joint steps"
    assert other.patterns.axes == (elbow, grip, wrist)
    assert set(other.patterns.names()) < {"elbow up", "grip up", "wrist up"}


def test_a_mirror_nobody_knows_is_refused() -> None:
    method = EgoMotionEquivarianceConfig(size=16, clusters=4, keep=2).build(BackboneConfig("conv4").build())
    source = Listed([{"motions": np.ones((1, 1)) * i} for i in range(20)])
    source.motion_axes = (motion.Axis("elbow", "up", "down", 0),)
    with pytest.raises(UserError, match=r"method\.flip=false"):
        method.fit(source, generator(0))


def drive_mostly_straight(count: int = 400) -> Listed:
    kinds = np.array([[1.0, 0.0]] * 18 + [[0.3, 1.0], [0.0, 0.0]])
    rng = generator("straight")
    source = Listed([{"motions": kinds[i % 20 : i % 20 + 1] + rng.normal(size=(1, 2)) * 0.01} for i in range(count)])
    source.motion_axes = (motion.FORWARD, motion.LEFT_YAW)
    return source


def test_an_epoch_meets_every_pattern_equally_often() -> None:
    source = drive_mostly_straight()
    method = EgoMotionEquivarianceConfig(size=16, clusters=4, other_share=0.1).build(BackboneConfig("conv4").build())
    method.fit(source, generator(0))
    plans = [method.before_epoch(nn.Identity(), Epoch(n, source, lambda: torch.empty(0))) for n in range(2)]
    first, second = (plan.indices for plan in plans if plan is not None and plan.indices is not None)
    kind = np.bincount(first % 20, minlength=20)
    assert kind[18] / 400 == pytest.approx(0.6, abs=0.02)  # the turns, left or mirrored
    assert kind[19] / 400 == pytest.approx(0.1, abs=0.02)
    assert not np.array_equal(first, second)


def test_frames_are_drawn_alike_where_that_is_wanted() -> None:
    method = EgoMotionEquivarianceConfig(size=16, clusters=4, even=False).build(BackboneConfig("conv4").build())
    assert method.before_epoch(nn.Identity(), Epoch(0, drive_mostly_straight(), lambda: torch.empty(0))) is None


def test_patterns_are_of_training_drives_only(tmp_path: Path) -> None:
    """A held-out drive that does something else is not looked at: what is found is what is found without it."""
    spec = KittiRaw.tiny(tmp_path)
    held = set(spec.open("held_out").recordings)
    found = []
    for wild in (False, True):
        source = spec.open("train")
        seen = set(source.recordings)
        assert not seen & held
        assert isinstance(source, Drives)
        for drive in source.drives:
            if wild and drive.name in held:
                assert isinstance(drive.track, PoseTrack)
                drive.track.poses[:, :3, 3] *= 1000
        method = EgoMotionEquivarianceConfig(size=16, clusters=4).build(BackboneConfig("conv4").build())
        method.fit(source, generator(0))
        found.append(method.patterns.centres)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(("clusters", "keep"), [(6, 1), (3, 4)])
def test_keeping_what_cannot_be_told_apart_is_refused(clusters: int, keep: int) -> None:
    with pytest.raises(UserError, match=f"keep is {keep} of {clusters} clusters"):
        EgoMotionEquivarianceConfig(clusters=clusters, keep=keep)


def test_the_figure_names_the_motion_and_the_nearest_map() -> None:
    method = EgoMotionEquivariance(4, EgoMotionEquivarianceConfig(dim=4))
    for name, numbers in PATTERNS.to_numbers().items():
        setattr(method, name, torch.from_numpy(numbers))
    frames = torch.randn(2, 3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    distance = torch.tensor([[0.0, 1, 1], [1, 1, 0], [1, 0, 1]])
    answers = {"pattern": torch.tensor([RIGHT, FORWARD, NONE]), "distance": distance}
    batch = {"before": frames[0], "after": frames[1]}
    ((caption, pairs),) = method.figure(batch, Step(torch.zeros(()), answers=answers))
    assert caption == "before | after; moved right, forward; nearest map: right, left"
    torch.testing.assert_close(pairs[:, :, 2:-2, 2:-2], side_by_side(batch)[:2, :, 2:-2, 2:-2])
    assert [tuple(one[:, 0, 0].tolist()) for one in pairs] == [pytest.approx(rim) for rim in (marks.RIGHT, marks.WRONG)]
    none = {"pattern": torch.full((3,), NONE), "distance": distance}
    assert method.figure(batch, Step(torch.zeros(()), answers=none)) == ()
