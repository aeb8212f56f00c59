"""Exemplars by triplets: copies of one picture are nearer to each other than to copies of any other picture, by a margin.

The form of `exemplar` that scales: no class a picture, so their number costs nothing, and each step compares only the pictures
in it. M copies of a picture are cropped anew and changed in colour; to keep them together and apart from the others, a network
must see what they have in common.

Kolesnikov, Zhai and Beyer 2019, arXiv:1901.09005, section 3.1: 8 copies, semi-hard triplets, margin 0.5, an embedding of 1,000,
each picture standardised and two thirds of them grey. Different, and why:
- Embeddings are made unit vectors, each of its own. The authors' program divides each of the 1,000 numbers by its norm over the
  *batch* instead; distances then depend on whoever else is in the batch, so we do not do that.
- The loss is the mean over *all* semi-hard triplets; theirs takes for each pair the one nearest negative that is farther than the
  positive, or the farthest where there is none.
- Crops are of plain random area; colours change as in the paper of 2014 (`embodied_ssl.views.strong_colours`), more weakly.

Legend: B pictures of a batch, M copies of each, D = ``dim``, S pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.backbones import Backbone
from embodied_ssl.core import Asks, Batch, Example, Method, Panel, Step, View
from embodied_ssl.datasets.source import Sample, Source
from embodied_ssl.errors import UserError
from embodied_ssl.methods.retrieval import found_copies, retrieval
from embodied_ssl.views.crops import centre_box, check_crop, random_crop
from embodied_ssl.views.patches import standardise_each
from embodied_ssl.views.pixels import normalise, to_float, to_grey, unnormalise
from embodied_ssl.views.strong_colours import StrongColours, change_strongly, principal_colours

MILDER = StrongColours(contrast=0.5, power=0.5, factor=0.25, shift=0.05, hue=0.05, grey=0.66)


@dataclass(frozen=True)
class ExemplarTripletConfig:
    """The copies, the embedding and the margin.

    Args:
        size: S.
        copies: M, at least 2; a batch of B pictures is B x M pictures to the network.
        area: least and greatest share of the picture that a copy's crop covers; half of the crops are mirrored.
        colours: how the copies' colours change.
        standardise: bring each copy to mean 0 and standard deviation 1; otherwise ImageNet's are taken, as in transfer.
        dim: D.
        margin: of squared distances between unit vectors, which are 0 to 4 and 2 for unrelated ones.
    """

    size: int = 96
    copies: int = 8
    area: tuple[float, float] = (0.2, 1.0)
    colours: StrongColours = MILDER
    standardise: bool = True
    dim: int = 128
    margin: float = 0.5

    def __post_init__(self) -> None:
        check_crop(self.size, self.area)
        if self.copies < 2:
            raise UserError(f"copies is {self.copies}; give at least 2")
        if self.margin <= 0:
            raise UserError(f"margin is {self.margin}; give a number above 0 (0.5 is usual)")

    def build(self, backbone: Backbone) -> ExemplarTriplet:
        return ExemplarTriplet(backbone.width, self, backbone.channels)


@dataclass(frozen=True)
class CopiesView(View):
    """M crops of a picture uint8 [M, S, S, 3] and the factors of their colours; rendered to copies [B, M, C, S, S]."""

    config: ExemplarTripletConfig
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    channels: int = 3

    @property
    def size(self) -> int:
        return self.config.size

    def draw(self, sample: Sample, rng: np.random.Generator) -> Example:
        config, picture = self.config, sample["picture"]
        crops = np.stack([random_crop(picture, config.size, rng, config.area) for _ in range(config.copies)])
        whole = picture.take(centre_box(*picture.size), (config.size, config.size))
        colours = np.stack([config.colours.draw(rng) for _ in range(config.copies)])
        return {"whole": whole, "crops": crops, "colours": colours}

    def render(self, batch: Batch) -> Batch:
        mean, axes = (torch.from_numpy(x).to(batch["crops"].device) for x in (self.mean, self.axes))
        changed = change_strongly(to_float(batch["crops"]).flatten(0, 1), batch["colours"].flatten(0, 1), mean, axes)
        pictures = to_grey(changed) if self.channels == 1 else changed
        pictures = standardise_each(pictures) if self.config.standardise else normalise(pictures)
        return {**batch, "copies": pictures.unflatten(0, batch["crops"].shape[:2])}

    def panels(self, batch: Batch) -> Sequence[Panel]:
        copies = [(f"copy {m + 1}", self.for_people(batch["copies"][:, m])) for m in range(self.config.copies)]
        return [("pictures, as they are", to_float(batch["whole"])), *copies]

    def for_people(self, copies: Tensor) -> Tensor:
        """Copies [n, C, S, S] as people can look at them: [n, 3, S, S] in 0..1."""
        if not self.config.standardise:
            return unnormalise(copies)
        return (copies / 4 + 0.5).clamp(0, 1).expand(-1, 3, -1, -1)  # two standard deviations fill the range


class ExemplarTriplet(Method):
    """The mean over semi-hard triplets of (margin - how much farther the other picture is); see `semi_hard_triplets`."""

    needs = frozenset({"picture"})
    pair = ("first", "second")
    asks = Asks(channels=(1, 3))
    coupled = True
    mean: Tensor
    axes: Tensor

    def __init__(self, width: int, config: ExemplarTripletConfig, channels: int = 3) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.project = nn.Linear(width, config.dim)
        self.register_buffer("mean", torch.full((3,), 0.5))
        self.register_buffer("axes", torch.eye(3))
        self.wrap: Callable[[View], View] = lambda view: view

    def _view(self) -> CopiesView:
        return CopiesView(self.config, self.mean.cpu().numpy(), self.axes.cpu().numpy(), self.channels)

    @property
    def view(self) -> View:  # type: ignore[override]
        return self.wrap(self._view())

    def see_through(self, wrap: Callable[[View], View]) -> None:
        self.wrap = wrap

    def fit(self, source: Source, rng: np.random.Generator) -> None:
        """Find the principal colours of the pictures, along which contrast is changed."""
        self.mean, self.axes = (torch.from_numpy(x) for x in principal_colours(source, rng))

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        copies = batch["copies"]
        embeddings = self.project(backbone(copies.flatten(0, 1)).vector).float()
        return {"copies": embeddings.unflatten(0, copies.shape[:2]), "asked": batch["index"]}

    def objective(self, embeddings: dict[str, Tensor]) -> Step:
        copies = F.normalize(embeddings["copies"], dim=2)  # over features: every copy a unit vector of its own
        loss, share = semi_hard_triplets(copies, embeddings["asked"], self.config.margin)
        first, second = copies[:, 0].detach(), copies[:, 1].detach()
        # 1/sqrt(D) when directions fill the sphere, 0 when they collapse to a point
        spread = copies.detach().flatten(0, 1).std(0).mean() * copies.shape[2] ** 0.5
        answers = {"first": first, "second": second, "asked": embeddings["asked"]}
        return Step(loss, {"semi_hard": share, "spread": spread}, answers=answers)

    def score(self, answers: Mapping[str, Tensor]) -> dict[str, float]:
        """``retrieval``: is the nearest second copy of the same picture? See `embodied_ssl.methods.retrieval`; chance is 1/64."""
        found, chance = retrieval(answers["first"], answers["second"], answers["asked"])
        return {"retrieval": found, "chance_retrieval": chance}

    def figure(self, batch: Batch, step: Step) -> Sequence[Panel]:
        """Pictures, two copies of each, and what the first copy takes for its second one among those shown."""
        view = self._view()
        first, second = view.for_people(batch["copies"][:, 0]), view.for_people(batch["copies"][:, 1])
        return [("picture", to_float(batch["whole"])), *found_copies(first, second, step.answers)]


def semi_hard_triplets(copies: Tensor, asked: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """The loss over all triplets whose negative is farther than the positive, but not by the margin.

    Schroff et al. 2015 (FaceNet), arXiv:1503.03832, section 3.2: a triplet is an anchor, another copy of its picture and a copy
    of another picture, and semi-hard where |a - p|^2 < |a - n|^2 < |a - p|^2 + margin. Negatives that are nearer than the
    positive are left out: early in training they tend to draw everything to a point.

    Args:
        copies: unit vectors [B, M, D].
        asked: [B], which picture; another row of the same picture gives no negatives.
        margin: see above.

    Returns:
        The mean of |a - p|^2 - |a - n|^2 + margin over semi-hard triplets, between 0 and the margin, and their share of all
        triplets. 0 where there are none: when all is well, and when all look alike (``spread`` is 0 then).
    """
    count, number = copies.shape[:2]
    flat = copies.flatten(0, 1)
    distance = 2 - 2 * flat @ flat.T  # [BM, BM], squared
    near = distance.view(count, number, count, number)[torch.arange(count), :, torch.arange(count)]  # [B, M, M]
    farther = distance.view(count, number, 1, count * number) - near.unsqueeze(3)  # [B, anchor, positive, any]
    other = (asked.unsqueeze(1) != asked.unsqueeze(0)).repeat_interleave(number, dim=1)  # [B, BM]
    pair = ~torch.eye(number, dtype=torch.bool, device=copies.device)
    triplet = other.view(count, 1, 1, -1) & pair.unsqueeze(2)
    semi_hard = triplet & (farther > 0) & (farther < margin)
    loss = ((margin - farther) * semi_hard).sum() / semi_hard.sum().clamp_min(1)
    return loss, (semi_hard.sum() / triplet.sum().clamp_min(1)).detach()
