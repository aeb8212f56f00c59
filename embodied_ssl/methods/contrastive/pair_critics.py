"""Two critics that score places of a map and numbers that describe a whole picture by whether they are of one picture.

Hjelm et al. 2019, arXiv:1808.06670, appendix A.2: encode-and-dot brings both to vectors and multiplies these, so that every
place of a batch is compared with every picture at once; concat-and-convolve joins both at every place and runs a small network
over it, which costs as much for each comparison and is therefore held against a few other pictures only. Both are written in
two halves: what is worked out of each picture by itself, and the comparison.

Different: no BatchNorm in either (the authors' have it), inner products are divided by the square root of their length, and the
shortcut starts as any linear layer (theirs near the identity).

Legend: B pictures, M places of each, C numbers of a place, D of a picture, U units of the critic, n other pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class PairCritic(nn.Module, ABC):
    """``places`` and ``whole`` turn what a picture gives into U numbers each; `compare` scores their pairs."""

    places: nn.Module  # [B, M, C] to [B, M, U]
    whole: nn.Module  # [B, D] to [B, U]

    @abstractmethod
    def compare(self, places: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of each whole with the places of its own picture [B, M], and with those of n others [B, n, M]."""


class EncodeAndDot(PairCritic):
    """Inner products of what two small networks, each with a shortcut, make of both; n is B - 1."""

    def __init__(self, place: int, whole: int, units: int) -> None:
        super().__init__()
        self.places = nn.Sequential(_Shortcut(place, units), nn.LayerNorm(units))
        self.whole = _Shortcut(whole, units)

    def compare(self, places: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        count = len(places)
        scores = torch.einsum("bu,cmu->bcm", whole, places) / places.shape[-1] ** 0.5
        own = torch.eye(count, dtype=torch.bool, device=places.device)
        return scores[own], scores[~own].view(count, count - 1, places.shape[1])


class ConcatAndConvolve(PairCritic):
    """Three layers on both side by side; n is ``others``, or B - 1 if there are not so many: the next pictures of the batch.

    The first layer, being linear, is the sum of one of the places and one of the whole.
    """

    def __init__(self, place: int, whole: int, units: int, others: int) -> None:
        super().__init__()
        self.others = others
        self.places = nn.Linear(place, units)
        self.whole = nn.Linear(whole, units, bias=False)
        self.judge = nn.Sequential(nn.ReLU(), nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 1))

    def compare(self, places: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        others = min(self.others, len(places) - 1)
        joined = torch.stack([places.roll(-shift, 0) + whole.unsqueeze(1) for shift in range(others + 1)], dim=1)
        scores = self.judge(joined).squeeze(-1)  # [B, 1 + n, M]: with the places of the next picture, of the one after it, ...
        return scores[:, 0], scores[:, 1:]


class _Shortcut(nn.Module):
    """Two layers with a ReLU between them, plus a linear one around both."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.bent = nn.Sequential(nn.Linear(inner, outer), nn.ReLU(), nn.Linear(outer, outer))
        self.straight = nn.Linear(inner, outer, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.bent(x) + self.straight(x)
        return added
