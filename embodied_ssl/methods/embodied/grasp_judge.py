"""The success of grasps, as a trained `interaction` run predicts it: what a robot would use it for."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embodied_ssl.core import View
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import UserError
from embodied_ssl.finished import open_run
from embodied_ssl.methods.embodied.interaction import BINS, GRASP, Interaction, TouchView
from embodied_ssl.methods.multi_task import GreyView, MultiTask


class GraspJudge:
    """A backbone and the grasp branch on it, which see what they saw in training but for its jitter.

    Args:
        backbone: pictures to features, as the branch is used to.
        method: whose branch it is.
        fingerprint: of the weights.
    """

    def __init__(self, backbone: nn.Module, method: Interaction, fingerprint: str) -> None:
        self.backbone = backbone.eval()
        self.method = method.eval()
        self.view = _steady(method.view)
        self.fingerprint = fingerprint

    @torch.no_grad()
    def chances(self, picture: Pixels, grasps: NDArray[np.float64] | Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """The predicted probability that each grasp holds.

        Args:
            picture: the scene before, uint8 [h, w, 3].
            grasps: row, column and angle bin of each [n, 3]; bins need not be whole numbers.

        Returns:
            Probabilities [n].
        """
        tries = np.asarray(grasps, np.float64)[:, :3]
        handle = ArrayPicture(picture)
        rng = np.random.default_rng(0)  # nothing is drawn from it: there is no jitter
        drawn = [
            self.view.draw(
                {
                    "task": GRASP,
                    "before": handle,
                    "after": handle,
                    "grasp": np.array([row, column, round(angle) % BINS, 0.0], np.float32),
                    "push": np.zeros(5, np.float32),
                    "poke": np.zeros(4, np.float32),
                },
                rng,
            )
            for row, column, angle in tries
        ]
        batch = self.view.render({name: torch.from_numpy(np.stack([one[name] for one in drawn])) for name in drawn[0]})
        logits = self.method.grasp(self.backbone(batch["first"]).vector).float()
        found: NDArray[np.float64] = torch.sigmoid(logits.gather(1, batch["bin"].unsqueeze(1))[:, 0]).double().numpy()
        return found


def open_judge(run: Path) -> GraspJudge:
    """The grasp branch of a run.

    Args:
        run: a folder made by pretrain.

    Raises:
        UserError: no run there, or it has learnt no grasps.
    """
    path = run / "checkpoints" / "last.pt"
    if not path.exists():
        raise UserError(f"'{run}' holds no run of pretrain (no checkpoints/last.pt)")
    learner = open_run(run).learner
    backbone, method = learner.backbone, learner.method
    name = next((name for name, child in method.children_by_name.items() if isinstance(child, Interaction)), "")
    if not name and not isinstance(method, Interaction):
        raise UserError(f"'{run}' has learnt no grasps ({type(method).__name__}); give a run of the interaction method")
    weights = hashlib.sha256(path.read_bytes()).hexdigest()
    if isinstance(method, Interaction):
        return GraspJudge(backbone, method, weights)
    assert isinstance(method, MultiTask)
    child = method.children_by_name[name]
    assert isinstance(child, Interaction)
    return GraspJudge(method.seen_by(name, backbone), child, weights)


def _steady(view: View) -> View:
    """A view that cuts patches exactly where the point is."""
    if isinstance(view, GreyView):
        return GreyView(_steady(view.view))
    assert isinstance(view, TouchView)
    return dataclasses.replace(view, jitter=0.0)
