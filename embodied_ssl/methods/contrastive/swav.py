"""SwAV: foresee from one crop which prototypes another crop of the same picture is given to.

No picture is compared with another. Every crop has scores for K prototypes; the large crops of the whole batch are shared out
evenly among them (`sinkhorn`), and these codes are what all other crops of the same picture have to predict. Sharing out evenly
rules out that everything is given to one prototype; what remains to agree on is what is in the picture.

Caron, Misra, Mairal, Goyal, Bojanowski and Joulin 2020, arXiv:2006.09882: loss eqs. 1 and 2, codes section 3.1, crops section
3.2, and their program for what the paper leaves open. Kept: codes of the large crops alone, without gradient, over the batch of
all ranks; unit vectors and unit prototypes, brought back to unit length after each step; a queue of earlier vectors of each
large crop, scored by today's prototypes, from some point of the run on and once it is full. Different, and why:
- The prototypes' rate is 0 while they are frozen, where the program drops their gradient: momentum gathers meanwhile.
- The queue moves by whole steps and after them, so that a batch is never in its own queue; the program does it within.
- Pictures and colours are as in `embodied_ssl.methods.contrastive.simclr`.

Legend: B pictures, C large crops and V crops in all, K prototypes, D features, L vectors in the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Method, Panel, Step
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import UserError
from embodied_ssl.heads import mlp
from embodied_ssl.losses import precise
from embodied_ssl.methods.contrastive.multi_crop import MultiCropConfig
from embodied_ssl.methods.contrastive.prototypes import (
    Prototypes,
    agreement,
    check_prototypes,
    cosines,
    grouped,
    prototype_figures,
)
from embodied_ssl.methods.contrastive.sinkhorn import sinkhorn
from embodied_ssl.views.coloured_crops import check_not_enlarged, crops_of, vectors_of
from embodied_ssl.views.pixels import unnormalise


@dataclass(frozen=True)
class SwAVConfig(MultiCropConfig):
    """The prototypes and how pictures are shared among them; the crops are those of `MultiCropConfig`.

    Args:
        prototypes: K; at most the pictures there are, and at most a batch and the queue together.
        temperature: divides the scores that are held against the codes.
        epsilon, iterations: of `sinkhorn`.
        queue: L for each large crop, whole batches; 0 for none, where a batch is several times K.
        queue_from: share of the run after which the queue is filled.
        freeze: share of the run in which prototypes stay as they are.
        hidden, out: widths of the projection head; ``out`` is D.
        norm_out: a norm without scale and shift after the head. A new network says much the same of all pictures; what differs is
            then seen from the first step on, which suits short runs. The paper has none.
    """

    prototypes: int = 200
    temperature: float = 0.1
    epsilon: float = 0.05
    iterations: int = 3
    queue: int = 0
    queue_from: float = 0.1
    freeze: float = 0.02
    hidden: int = 512
    out: int = 128
    norm_out: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prototypes < 2:
            raise UserError(f"prototypes is {self.prototypes}; give at least 2, or there is nothing to tell")
        if self.temperature <= 0 or self.epsilon <= 0:
            given = f"temperature is {self.temperature} and epsilon {self.epsilon}"
            raise UserError(f"{given}; give numbers above 0 (0.1 and 0.05 are the paper's)")
        if self.iterations < 1 or self.queue < 0:
            raise UserError(f"iterations is {self.iterations} and queue {self.queue}; give at least 1 iteration, and 0 or more")
        if not (0 <= self.queue_from <= 1 and 0 <= self.freeze <= 1):
            raise UserError(f"queue_from is {self.queue_from} and freeze {self.freeze}; give shares of the run, 0 to 1")

    def build(self, backbone: Backbone) -> SwAV:
        self.check_backbone(backbone)
        return SwAV(mlp(backbone.width, self.hidden, self.out, norm_out=self.norm_out), self)


class SwAV(Method):
    """Cross-entropy of every crop under the codes of the others; log K when all look alike."""

    needs = frozenset({"picture"})
    coupled = True
    queue: Tensor
    filled: Tensor

    def __init__(self, head: nn.Module, config: SwAVConfig) -> None:
        super().__init__()
        self.config = config
        self.view = config.crops()
        self.head = head
        self.prototypes = Prototypes(config.out, config.prototypes)
        self.register_buffer("queue", torch.zeros(config.large, config.queue, config.out))  # newest first
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Nothing is found; what cannot be learnt from is refused.

        Raises:
            UserError: more prototypes than pictures, or pictures smaller than the crops.
        """
        check_prototypes(self.config.prototypes, len(source))
        check_not_enlarged(source, self.config.size)

    def check_batch(self, examples: int, together: int) -> None:
        """See that batch and queue can be shared among the prototypes.

        Raises:
            UserError: says the numbers, and which would do.
        """
        prototypes, queue = self.config.prototypes, self.config.queue
        if queue % examples:
            given = f"a queue of {queue} is not divisible by batches of {examples} pictures"
            raise UserError(f"{given}; give a multiple of {examples}")
        if examples + queue < prototypes:
            raise UserError(
                f"{prototypes} prototypes cannot be shared out among a batch of {examples} pictures and a queue of {queue}: "
                f"every picture would be given to several; give at most {examples + queue} prototypes, or a longer queue"
            )

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        crops = crops_of(batch)
        projected = precise(self.head(torch.cat(vectors_of(backbone, crops))))  # one pass: the head's BatchNorm sees all crops
        vectors = F.normalize(projected, dim=1).unflatten(0, (len(crops), -1)).transpose(0, 1)  # [B, V, D]
        return {"scores": self.prototypes(vectors), "vectors": vectors[:, : self.config.large].detach()}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        scores, vectors = embeddings["scores"], embeddings["vectors"].detach()
        codes = self.codes(scores.detach()[:, : self.config.large])
        loss = swapped_prediction(scores, codes, self.config.temperature)
        code = codes.argmax(2).unsqueeze(1)  # [B, 1, C]
        nearest = scores.detach()[:, : self.config.large].argmax(2).unsqueeze(1)
        same, chance = agreement(code, self.config.prototypes)
        metrics = {"code_agreement": same, "chance_code_agreement": chance}
        return Step(loss, metrics, {"vectors": vectors}, {"code": code, "nearest": nearest})

    def codes(self, scores: Tensor) -> Tensor:
        """What large crops' scores [B, C, K] are given to, shared out over batch and queue: [B, C, K], every row's sum 1."""
        each = []
        with_queue = self.config.queue > 0 and int(self.filled) == self.config.queue
        for crop, own in enumerate(scores.unbind(1)):
            everything = torch.cat([own, cosines(self.queue[crop], self.prototypes.weight.detach())]) if with_queue else own
            each.append(sinkhorn(everything, self.config.epsilon, self.config.iterations)[: len(own)])
        return torch.stack(each, dim=1)

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        """Bring prototypes back to unit length; put this step's vectors before those in the queue."""
        self.prototypes.renormalise()
        if self.config.queue and progress > self.config.queue_from:
            newest = carry["vectors"].transpose(0, 1).to(self.queue)
            self.queue.copy_(torch.cat([newest, self.queue], dim=1)[:, : self.config.queue])
            self.filled.copy_((self.filled + newest.shape[1]).clamp_max(self.config.queue))

    def rate(self, group: str, progress: float) -> float:
        return 0.0 if group == "prototypes" and progress < self.config.freeze else 1.0

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``agreement`` and ``used`` of the nearest prototypes, beside chance: see `prototype_figures`.

        Codes depend on what else is in the batch; the nearest prototype does not, and everything may be given to one.
        """
        return prototype_figures(answers["nearest"], self.config.prototypes)

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Large crops under the prototype that their codes give them to, those that got most of these crops."""
        crops = [unnormalise(crop) for crop in crops_of(batch)[: self.config.large]]
        return grouped(crops, step.answers["code"][:, 0])


def swapped_prediction(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each crop's prediction under the codes of every other crop of its picture.

    Caron et al. 2020, eqs. 1 and 2. The mean over pictures, then over the V - 1 crops other than the one that has the codes, then
    over the C crops that have codes, as in the authors' program and in lightly's ``SwaVLoss``. The paper's eq. 1 is the sum over
    both directions: twice this for two crops.

    Args:
        scores: [B, V, K]; the first C crops are those that have codes.
        codes: [B, C, K], without gradient; every row sums to 1.
        temperature: divides the scores.

    Returns:
        A scalar; log K when all scores are alike.
    """
    predicted = F.log_softmax(precise(scores) / temperature, dim=2)
    entropy = -torch.einsum("bck,bvk->cv", codes.to(predicted), predicted) / len(scores)
    others = 1 - torch.eye(*entropy.shape, dtype=entropy.dtype, device=entropy.device)
    return ((entropy * others).sum(1) / (scores.shape[1] - 1)).mean()
