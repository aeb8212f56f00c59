"""Classification: the cost of not knowing, recall averaged over classes, and a joint gradient that is the papers' sum."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from embodied_ssl import config
from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import override
from embodied_ssl.core import Step
from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.few_shots import FewShots
from embodied_ssl.errors import UserError
from embodied_ssl.keys import generator
from embodied_ssl.methods.image.classification import Annealing, Classification, ClassificationConfig, signal_threshold
from embodied_ssl.methods.multi_task import MultiTaskConfig
from embodied_ssl.views.marks import RIGHT, WRONG
from embodied_ssl.views.pixels import network_input, unnormalise


def build(classes: int = 5) -> Classification:
    torch.manual_seed(0)
    return ClassificationConfig(size=16, classes=classes).build(BackboneConfig("conv4").build())


class Given(nn.Module):
    def forward(self, x: torch.Tensor) -> object:
        return type("Features", (), {"vector": x})


def test_not_knowing_costs_log_of_the_classes() -> None:
    method = build(5)
    nn.init.zeros_(method.head.weight)
    nn.init.zeros_(method.head.bias)
    step = method(Given(), {"picture": torch.randn(7, 64), "label": torch.arange(7) % 5})
    assert step.loss.item() == pytest.approx(math.log(5))


def test_recall_is_averaged_over_the_classes_met() -> None:
    label = torch.tensor([0] * 90 + [1] * 6 + [3] * 4)
    scores = build().score({"label": label, "guess": torch.cat([torch.zeros(93), torch.ones(3), torch.full((4,), 3.0)])})
    assert scores["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert scores["chance_balanced_accuracy"] == pytest.approx(1 / 3)


def test_more_classes_than_answers_are_refused(tmp_path: Path) -> None:
    source = ClassFolder.tiny(tmp_path / "new").open("train")
    with pytest.raises(UserError, match=r"has 3 classes, not 2; set --set method\.classes=3"):
        build(2).fit(source, generator(0))
    build(3).fit(source, generator(0))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_label_is_the_pictures(tmp_path: Path, channels: int) -> None:
    """The tiny set's classes are blue, green and red: the channel that leads is the label, read backwards."""
    source = ClassFolder.tiny(tmp_path / "new").open("train")
    view = ClassificationConfig(size=16, classes=3).build(BackboneConfig("conv4", channels).build()).view
    for row in range(len(source)):
        drawn = view.draw(source[row], generator(row))
        assert drawn["picture"].mean((0, 1)).argmax() == 2 - drawn["label"]
    rendered = view.render({key: torch.from_numpy(np.asarray(value))[None] for key, value in drawn.items()})
    assert rendered["picture"].shape == (1, channels, 16, 16)
    assert view.panels(rendered)[0][0] == "labels: 2"


def test_the_joint_config_weighs_its_terms_and_its_labels_can_be_chosen() -> None:
    """L = L_softmax + lambda L_E: the weight of the unlabelled term is lambda."""
    run = override(config.load("ego_motion_joint")[0], "method.tasks.ego_motion.weight=0.3")
    assert isinstance(run.method, MultiTaskConfig)
    assert {name: task.weight for name, task in run.method.tasks.items()} == {"labels": 1.0, "ego_motion": 0.3}
    run = override(override(run, "data.labels.shots=20"), "data.labels.draw=3")
    assert run.data["labels"] == FewShots(shots=20, draw=3)  # type: ignore[index]


# --- some labels, and their annealing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("annealing", "half_way"), [("linear", 0.55), ("exp", 0.174), ("log", 0.926), ("none", 1.0)])
def test_uda_tsa_half_way_of_ten_classes(annealing: Annealing, half_way: float) -> None:
    assert signal_threshold(0.5, 10, annealing) == pytest.approx(half_way, abs=5e-4)
    assert signal_threshold(1.0, 10, annealing) == pytest.approx(1, abs=0.01)
    if annealing != "none":
        assert signal_threshold(0.0, 10, annealing) == pytest.approx(0.1, abs=0.01)


def test_pictures_without_a_label_count_nothing() -> None:
    method = build(3)
    rng = torch.Generator().manual_seed(0)
    batch = {"picture": torch.randn(6, 64, generator=rng), "label": torch.tensor([0, -1, 2, -1, 1, -1])}
    told = {name: values[::2] for name, values in batch.items()}
    some, few = method(Given(), batch), method(Given(), told)
    torch.testing.assert_close(some.loss, few.loss)
    torch.testing.assert_close(some.metrics["accuracy"], few.metrics["accuracy"])
    none = method(Given(), {"picture": batch["picture"], "label": torch.full((6,), -1)})
    assert none.loss.item() == 0


def test_labels_that_are_known_already_are_left_out_until_the_threshold_has_risen() -> None:
    torch.manual_seed(0)
    method = ClassificationConfig(size=16, classes=2, annealing="linear").build(BackboneConfig("conv4").build())
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.weight[1, 0] = 1
        method.head.bias.zero_()
    odds = torch.tensor([0.6, 0.8, 0.3])  # of class 1, which all three are
    pictures = torch.zeros(3, 64)
    pictures[:, 0] = (odds / (1 - odds)).log()
    batch = {"picture": pictures, "label": torch.ones(3, dtype=torch.int64)}
    for progress, counting in ((0.0, [2]), (0.5, [0, 2]), (1.0, [0, 1, 2])):  # thresholds 0.5, 0.75, 1
        method.after_step(Given(), {}, progress)
        step = method.train()(Given(), batch)
        assert step.loss.item() == pytest.approx(float(-odds[counting].log().mean()), abs=1e-5)
        assert step.metrics["left_out"].item() == pytest.approx(1 - len(counting) / 3, abs=1e-6)
    method.after_step(Given(), {}, 0.0)
    assert method.eval()(Given(), batch).loss.item() == pytest.approx(float(-odds.log().mean()), abs=1e-5)


def test_another_annealing_is_refused() -> None:
    with pytest.raises(UserError, match="no annealing 'linea', did you mean 'linear'"):
        ClassificationConfig(annealing="linea")  # type: ignore[arg-type]


def test_the_figure_frames_labelled_pictures_by_the_answer() -> None:
    method = build(3)
    pictures = network_input(torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8))
    answers = {"label": torch.tensor([2, -1, 0, 1]), "guess": torch.tensor([2, 0, 1, 1])}
    ((caption, shown),) = method.figure({"picture": pictures}, Step(torch.zeros(()), answers=answers))
    assert caption == "classes 2, 0, 1; answered 2, 1, 1"
    assert [tuple(one[:, 0, 0].tolist()) for one in shown] == [pytest.approx(rim) for rim in (RIGHT, WRONG, RIGHT)]
    torch.testing.assert_close(shown[:, :, 2:-2, 2:-2], unnormalise(pictures)[[0, 2, 3], :, 2:-2, 2:-2])
    unlabelled = {"label": torch.full((4,), -1), "guess": torch.zeros(4)}
    assert method.figure({"picture": pictures}, Step(torch.zeros(()), answers=unlabelled)) == []
