"""Deep InfoMax: what describes a whole picture should tell as much as it can of each of its places.

A code of the whole picture is held against places of an earlier map: of the same picture, and of others. To tell which belong
together, the code must hold what many places have in common, which is more often what is shown than how.

Hjelm et al. 2019, arXiv:1808.06670: local mutual information (eq. 5), global (eq. 1: with the whole map at once), a prior that
codes are matched to by an adversary (eq. 7), added up with weights (eq. 8); critics encode-and-dot and concat-and-convolve
(`pair_critics`); estimators by Jensen-Shannon (eq. 4), InfoNCE (eq. 6) and Donsker-Varadhan (eq. 2; `mutual_information`). The
numbers of the equations are from memory; losses and critics are held against the authors' published code. Different, and why:
- The network is any backbone; its vector, brought to ``code`` numbers by a linear layer, is the code, and the places are those of
  one of its maps. What is exported is the network without that layer.
- Codes are matched to a uniform prior by the non-saturating loss, as in the authors' code (the paper writes the saturating one).
- What tells codes from the prior is trained in a phase of its own, before the others, in every step.

Legend: B pictures, M places of the map, n other pictures that each is held against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone, Features
from embodied_ssl.core import Asks, Batch, Method, Panel, Step
from embodied_ssl.errors import UserError, suggest
from embodied_ssl.heads import mlp
from embodied_ssl.methods.contrastive.mutual_information import (
    donsker_varadhan,
    found,
    info_nce,
    information,
    jensen_shannon,
    saturated,
)
from embodied_ssl.methods.contrastive.pair_critics import ConcatAndConvolve, EncodeAndDot, PairCritic
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop, crops_of
from embodied_ssl.views.pixels import unnormalise

DIMMED = 0.25  # brightness, in drawings, of places that were not found
UNCHANGED = ColourChange(change=0.0, grey=0.0)


@dataclass(frozen=True)
class DeepInfoMaxConfig:
    """The crops, what is held against what, and how.

    Args:
        size: side of the crop in pixels.
        area: least and greatest share of the picture that a crop covers.
        colour: how its colours change; not at all by default.
        stage: the map whose places are told; "" for the deepest that has ``cells`` x ``cells`` places.
        cells: a side, of places; a larger map is pooled to so many, and a smaller one repeats its own.
        code: numbers that describe a picture.
        estimator: ``jsd``, ``infonce`` or ``dv`` (see `mutual_information`).
        critic: ``dot`` encodes and multiplies, ``concat`` joins and convolves.
        hidden: units of the critics.
        others: of ``concat``: how many other pictures each is held against.
        local_weight, global_weight, prior_weight: beta, alpha and gamma of eq. 8; 0 leaves that part out.
    """

    size: int = 64
    area: tuple[float, float] = (0.3, 1.0)
    colour: ColourChange = UNCHANGED
    stage: str = ""
    cells: int = 8
    code: int = 64
    estimator: Literal["jsd", "infonce", "dv"] = "jsd"
    critic: Literal["dot", "concat"] = "dot"
    hidden: int = 512
    others: int = 4
    local_weight: float = 1.0
    global_weight: float = 0.5
    prior_weight: float = 0.0

    def __post_init__(self) -> None:
        Crop(self.size, self.area)  # checked there
        if min(self.cells, self.code, self.hidden, self.others) < 1:
            given = f"cells is {self.cells}, code {self.code}, hidden {self.hidden} and others {self.others}"
            raise UserError(f"{given}; give at least 1 each")
        if min(self.local_weight, self.global_weight, self.prior_weight) < 0 or self.local_weight + self.global_weight == 0:
            given = (
                f"local_weight is {self.local_weight}, global_weight {self.global_weight} and prior_weight {self.prior_weight}"
            )
            raise UserError(f"{given}; give at least 0 each, and the local or the global one more than 0")

    def build(self, backbone: Backbone) -> DeepInfoMax:
        DeepInfoMax.asks.check(backbone, "deep infomax")
        stage, channels = self._map(backbone)
        return DeepInfoMax(backbone.width, stage, channels, self)

    def _map(self, backbone: Backbone) -> tuple[str, int]:
        """The stage whose places are told, and its channels."""
        if self.stage and self.stage not in backbone.stages:
            raise UserError(f"{backbone.name} has no stage '{self.stage}'{suggest(self.stage, backbone.stages)}")
        sides = backbone.map_sizes(self.size)
        fine = [name for name, (_, side) in sides.items() if side >= self.cells and self.stage in ("", name)]
        if not fine:
            found = ", ".join(f"{name} {side} x {side}" for name, (_, side) in sides.items())
            raise UserError(
                f"no map has {self.cells} x {self.cells} places: {backbone.name}'s of {self.size}-pixel pictures are {found}; "
                "give fewer cells, another stage or larger pictures"
            )
        return fine[-1], sides[fine[-1]][0]

    def critic_of(self, place: int) -> PairCritic:
        """A critic of places of so many numbers and codes."""
        if self.critic == "dot":
            return EncodeAndDot(place, self.code, self.hidden)
        return ConcatAndConvolve(place, self.code, self.hidden, self.others)


class DeepInfoMax(Method):
    """Mutual information of a code with each place of a map and with the whole of it; see `DeepInfoMaxConfig`.

    Where all look alike to a critic: 2 log 2 for ``jsd``, log(n M + 1) for ``infonce``, 0 for ``dv``, times the weights.
    """

    needs = frozenset({"picture"})
    asks = Asks(maps=True)
    coupled = True

    def __init__(self, width: int, stage: str, channels: int, config: DeepInfoMaxConfig) -> None:
        super().__init__()
        self.config = config
        self.stage = stage
        self.view = ColouredCrops((Crop(config.size, config.area, config.colour),))
        self.code = nn.Linear(width, config.code)
        critics: dict[str, PairCritic] = {}
        if config.local_weight:
            critics["local"] = config.critic_of(channels)
        if config.global_weight:
            critics["global"] = config.critic_of(channels * config.cells**2)
        self.critics = nn.ModuleDict(critics)
        if config.prior_weight:
            self.phases = ("prior", "main")
            self.judge = mlp(config.code, 1000, 200, 1, norm=False)

    def trains(self, phase: str, parameter: str) -> bool:
        return parameter.startswith("method.judge.") == (phase == "prior")

    def check_batch(self, examples: int, together: int) -> None:
        if examples < 2:
            raise UserError("batch_size is 1; give at least 2: a picture's places are told from those of others")

    def forward(self, backbone: nn.Module, batch: Batch, phase: str = "main") -> Step:
        return self._tell_from_prior(backbone, batch) if phase == "prior" else super().forward(backbone, batch, phase)

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """For each critic what it makes of the places [B, M, U] and of the code [B, U]; and the code, if it has a prior."""
        features: Features = backbone(crops_of(batch)[0])
        code = self.code(features.vector)
        seen = F.adaptive_avg_pool2d(features.maps[self.stage], self.config.cells).flatten(2).movedim(1, 2)  # [B, M, C]
        embedded = {"code": code.sigmoid()} if self.config.prior_weight else {}
        for name, critic in self.critics.items():
            held = seen if name == "local" else seen.flatten(1).unsqueeze(1)
            embedded |= {f"{name}_places": critic.places(held), f"{name}_whole": critic.whole(code)}  # type: ignore[operator]
        return embedded

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        weights = {"local": self.config.local_weight, "global": self.config.global_weight}
        terms: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        answers: dict[str, Tensor] = {}
        for name, critic in self.critics.items():
            own, others = critic.compare(embeddings[f"{name}_places"], embeddings[f"{name}_whole"])  # type: ignore[operator]
            terms.append(weights[name] * self._loss(own, others))
            if not answers:  # the local one's, if there is one
                answers = self._told(own.detach(), others.detach())
                metrics = self._figures(own.detach(), others.detach())
        if self.config.prior_weight:
            terms.append(self.config.prior_weight * F.softplus(-self.judge(embeddings["code"])).mean())
        metrics |= {"accuracy": answers["told"].mean(), "chance_accuracy": answers["chance"].mean()}
        return Step(torch.stack(terms).sum(), metrics, answers=answers)

    def _loss(self, own: Tensor, others: Tensor) -> Tensor:
        """What is made small, of scores of the places of a picture's own [B, M] and of n others [B, n, M]."""
        if not others.numel():  # a last held-out picture, alone
            return own.sum() * 0
        if self.config.estimator == "infonce":
            return info_nce(own, others.flatten(1)).mean()
        return -(jensen_shannon if self.config.estimator == "jsd" else donsker_varadhan)(own, others)

    def _figures(self, own: Tensor, others: Tensor) -> dict[str, Tensor]:
        """The InfoNCE bound that these scores give, whatever they are trained by, and the most that it can be."""
        among = others[0].numel() + 1
        loss = info_nce(own, others.flatten(1)).mean() if among > 1 else own.new_zeros(())
        return {"information": information(loss, among), "most_information": own.new_tensor(among).log()}

    def _told(self, own: Tensor, others: Tensor) -> dict[str, Tensor]:
        """Whether each place scores higher than the same place of the n other pictures, [B, M], and chance, [B]."""
        told = found(own, others.movedim(1, 2))
        return {"told": told, "chance": own.new_full((len(own),), 1 / (others.shape[1] + 1))}

    def _tell_from_prior(self, backbone: nn.Module, batch: Batch) -> Step:
        """The judge's phase: even numbers from the codes of pictures; 2 log 2 when it cannot tell them."""
        with torch.no_grad():
            code = self.code(backbone(crops_of(batch)[0]).vector).sigmoid()
        even, made = self.judge(torch.rand_like(code)), self.judge(code)
        right = ((even > 0).float().mean() + (made < 0).float().mean()) / 2
        loss = F.softplus(-even).mean() + F.softplus(made).mean()
        return Step(loss, {"prior_told": right.detach(), "chance_prior_told": right.new_tensor(0.5)})

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``accuracy``: how often a picture's place fits its code better than the same place of the others does.

        Of the others of the same batch, so it depends on the batch's size; chance is 1 over how many pictures there are.
        """
        return {"accuracy": float(answers["told"].mean()), "chance_accuracy": float(answers["chance"].mean())}

    def warning(self, averages: Mapping[str, float]) -> str:
        remedy = "with a larger batch_size it can" if self.config.critic == "dot" else "with more --set method.others= it can"
        return saturated(averages["information"], averages["most_information"], remedy)

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Each picture, and of its places those that are told from the same places of the others."""
        pictures, told = unnormalise(crops_of(batch)[0]), step.answers["told"].to(batch["crop0"].device)
        side = round(told.shape[1] ** 0.5)
        shown = F.interpolate((told > 0.5).to(pictures.dtype).view(-1, 1, side, side), size=pictures.shape[-2:])
        others = round(1 / float(step.answers["chance"][0])) - 1
        caption = (
            f"bright: places that fit their own picture's code better than the same places of {others} others do, "
            f"{float(told.mean()):.0%} of all; {1 / (others + 1):.0%} by chance"
        )
        return [("pictures", pictures), (caption, pictures * (DIMMED + (1 - DIMMED) * shown))]
