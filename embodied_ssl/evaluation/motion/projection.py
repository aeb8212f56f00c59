"""The space a method's loss looked at: the linear projection between a run's backbone and its maps or distances.

The ego-motion papers measure their last layer, which is that space. Here it stays with the run when the backbone is exported, so
it is read from the run's checkpoint. An untrained twin's projection is drawn like its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from embodied_ssl.checkpoint import load_checkpoint
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.features import FeatureTable
from embodied_ssl.evaluation.models import Model
from embodied_ssl.keys import torch_seed

PROJECTION = "projection"  # as a layer's name
USUAL = 64  # dimensions of an untrained one


def with_projection(table: FeatureTable, model: Model) -> FeatureTable:
    """The table with one more layer: the last one's features [N, D] projected as in training [N, d].

    Raises:
        UserError: the run's method has no projection of the vector.
    """
    vectors = torch.from_numpy(table.features[table.last])
    with torch.no_grad():
        projected = projection_of(model, vectors.shape[1])(vectors).numpy()
    return replace(table, features={**table.features, PROJECTION: projected})


def projection_of(model: Model, width: int) -> nn.Linear:
    """The projection that a run trained, or of an untrained network one that is drawn with its seed.

    Raises:
        UserError: as `with_projection`.
    """
    if model.role == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(model.pretrain_seed or 0, "projection", 0))
            return nn.Linear(width, USUAL)
    path = Path(str(model.about.get("given", ""))).expanduser() / "checkpoints" / "last.pt"
    if not path.exists():
        raise UserError(f"{model.name} is no run with a checkpoint, and only such have a projection; leave it out of --layers")
    weights = trained_projection(load_checkpoint(path)["learner"])
    if weights is None or weights["weight"].shape[1] != width:
        raise UserError(f"the method of {model.name} projects no vector of {width} numbers; leave {PROJECTION} out of --layers")
    made = nn.Linear(width, len(weights["weight"]))
    made.load_state_dict({"bias": torch.zeros(len(weights["weight"])), **weights})
    return made


def trained_projection(learner: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """``weight`` and ``bias`` of the method's ``project``; of several tasks the first one's; None where there is none."""
    names = [name for name in learner if name.startswith("method.") and name.endswith("project.weight")]
    if not names:
        return None
    stem = names[0].removesuffix("weight")
    return {part: learner[stem + part].float() for part in ("weight", "bias") if stem + part in learner}
