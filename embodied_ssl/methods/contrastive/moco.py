"""MoCo: find the key of a picture's other view among the keys of thousands of other pictures, kept from earlier steps.

Two crops of a picture share what is in it and little else, once colours are changed. One is the query, the other's vector its
key. Keys come from a slow copy of the network (`momentum`), so that those of many steps can be compared, and wait in a queue
(`key_queue`): the number of negatives does not depend on the batch, and no loss joins the examples of a batch.

He, Fan, Wu, Xie and Girshick 2020, arXiv:1911.05722 (version 1: a linear head, temperature 0.07); Chen, Fan, Girshick and He
2020, arXiv:2003.04297 (version 2: a head of two layers without norm, temperature 0.2, blur). Kept: the order of things (logits
against the queue as it was, then the keys go in, then the copy moves), and random directions in the queue at first, which are
easy to tell apart from keys: the loss falls, then climbs as real keys come in. Different:
- queries and keys are normalised in groups within a rank (`sub_batches`); theirs are shuffled between GPUs;
- colours change by one fused matrix, crops are area-averaged (`embodied_ssl.views.coloured_crops`).

Of held-out pictures, too, the keys come from the slow copy and meet the queue of training keys.

Legend: B pictures of a batch, K keys in the queue, D numbers of a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Batch, Step
from embodied_ssl.errors import UserError
from embodied_ssl.heads import mlp
from embodied_ssl.losses import precise, queue_contrast
from embodied_ssl.methods.contrastive.key_queue import KeyQueue
from embodied_ssl.methods.contrastive.momentum import MomentumCopy, check_momentum
from embodied_ssl.methods.contrastive.sub_batches import check_groups, has_batch_norm, in_groups, in_other_groups
from embodied_ssl.methods.contrastive.two_views import TwoViews, spread
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop, crops_of


@dataclass(frozen=True)
class MoCoConfig:
    """The two views, the queue, the slow copy and the head.

    Args:
        size: side of the crops in pixels.
        area: least and greatest share of the picture that a crop covers.
        colour: how colours change.
        queue: K, a multiple of the batch. Of few pictures a long queue holds older keys of the very picture that is asked about.
        momentum: of the slow copy, per step; see `MomentumCopy` for what it means in steps.
        temperature: divides the cosine.
        groups: that the pictures passing through the network at once are normalised in (`sub_batches`). 1 leaves the leak open;
            a network without BatchNorm has none and is not asked to.
        hidden: width of the head's hidden layer; 0 for a linear head, as in version 1.
        out: D.
    """

    size: int = 96
    area: tuple[float, float] = (0.2, 1.0)
    colour: ColourChange = field(default_factory=ColourChange)
    queue: int = 1024
    momentum: float = 0.99
    temperature: float = 0.2
    groups: int = 4
    hidden: int = 512
    out: int = 128

    def __post_init__(self) -> None:
        Crop(self.size, self.area)  # checked there
        check_momentum(self.momentum)
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; give a number above 0 (0.07 in MoCo, 0.2 in its version 2)")
        if self.queue < 1 or self.groups < 1 or self.out < 1 or self.hidden < 0:
            given = f"queue is {self.queue}, groups {self.groups}, out {self.out} and hidden {self.hidden}"
            raise UserError(f"{given}; give at least 1 each, and 0 or more for hidden")

    def build(self, backbone: Backbone) -> MoCo:
        widths = (self.hidden, self.out) if self.hidden else (self.out,)
        return MoCo(backbone, mlp(backbone.width, *widths, norm=False), self)


class MoCo(TwoViews):
    """InfoNCE of queries against their keys and the queue; log(K + 1) when all look alike."""

    def __init__(self, backbone: nn.Module, head: nn.Sequential, config: MoCoConfig) -> None:
        super().__init__()
        crop = Crop(config.size, config.area, config.colour)
        self.view = ColouredCrops((crop, crop))
        self.config = config
        self.head = head
        self.slow_backbone = MomentumCopy(backbone)
        self.slow_head = MomentumCopy(head)
        self.queue = KeyQueue(config.queue, config.out)
        self.groups = config.groups if has_batch_norm(backbone) else 1

    def check_batch(self, examples: int, together: int) -> None:
        """The queue holds whole batches, and BatchNorm sees groups of at least two pictures."""
        self.queue.check(examples)
        if has_batch_norm(self.slow_backbone):
            check_groups(together, self.groups)

    def start(self, backbone: nn.Module) -> None:
        self.slow_backbone.start(backbone)
        self.slow_head.start(self.head)

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        first, second = crops_of(batch)
        groups = self.groups if self.training else 1
        queries = in_groups(lambda pictures: self.head(backbone(pictures).vector), first, groups)
        keys = in_other_groups(lambda pictures: self.slow_head(self.slow_backbone(pictures).vector), second, groups)
        with torch.autocast(queries.device.type, enabled=False):
            queries, keys = (F.normalize(precise(vectors), dim=1) for vectors in (queries, keys))
            return self._compare(queries, keys, batch["index"])

    def _compare(self, queries: Tensor, keys: Tensor, asked: Tensor) -> Step:
        negatives = self.queue.rows.to(queries.dtype)
        loss = queue_contrast(queries, keys, negatives, self.config.temperature)
        with torch.no_grad():
            found = (queries * keys).sum(1) > (queries @ negatives.T).amax(1)
        chance = queries.new_tensor(1 / (len(negatives) + 1))
        metrics = {"accuracy": found.float().mean(), "chance_accuracy": chance, "spread": spread(queries)}
        return Step(loss, metrics, {"keys": keys}, {"first": queries.detach(), "second": keys, "asked": asked})

    def after_step(self, backbone: nn.Module, carry: Mapping[str, Tensor], progress: float) -> None:
        """The step's keys go into the queue, and the slow copy follows the network."""
        self.queue.replace_oldest(carry["keys"])
        self.slow_backbone.update(backbone, self.config.momentum)
        self.slow_head.update(self.head, self.config.momentum)
