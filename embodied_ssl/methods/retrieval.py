"""Are views of the same thing found? The held-out question of methods whose classes are the training pictures themselves.

Two copies are made of everything held out. Each first copy asks which of several second copies is its own: of all held-out
things' where there are few, else of so many drawn at random, on average over all such draws. So the figure does not depend on
how many things were held out, nor on the size of a batch.

Legend: N questions, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.core import Panel
from embodied_ssl.views.marks import framed

AMONG = 64  # second copies to choose from: chance is 1/64


def retrieval(first: Tensor, second: Tensor, thing: Tensor, among: int = AMONG) -> tuple[float, float]:
    """How often a first copy's own second copy is the nearest by cosine, and chance: see `found_among`.

    Args:
        first, second: float [N, D]; row i of both is of the same thing.
        thing: [N], its number; a row is no rival of another of the same thing.
        among: g, or fewer where there are not so many.
    """
    a, b = (F.normalize(x.double(), dim=1) for x in (first, second))
    return found_among(a @ b.T, thing, among)


def found_among(near: Tensor, thing: Tensor, among: int = AMONG) -> tuple[float, float]:
    """How often what is asked for is the nearest, and chance.

    With r rivals of which k are nearer than its own, a copy is found among g if none of those k is among the g - 1 rivals drawn:
    C(r - k, g - 1) / C(r, g - 1). Rivals that are exactly as near are nearer half of the time, in every order: when all look
    alike the figure is chance itself.

    Args:
        near: [N, N], how near the second copy of a column is to the first one of a row; a row's own is on the diagonal.
        thing: [N], its number; a row is no rival of another of the same thing.
        among: g, or fewer where there are not so many.

    Returns:
        The figure, and 1 / g (averaged over questions); both 1 for a single thing.
    """
    near = near.float()  # in float32: what differs by rounding alone is as near
    own = near.diagonal().unsqueeze(1)
    rival = thing.unsqueeze(0) != thing.unsqueeze(1)
    nearer = ((near > own) & rival).sum(1)
    as_near = ((near == own) & rival).sum(1)
    rivals = rival.sum(1)
    found, chance = torch.zeros(len(thing)), torch.zeros(len(thing))
    for count in rivals.unique().tolist():  # a bootstrap repeats things, so that rows can have different numbers of rivals
        rows = rivals == count
        drawn = min(among - 1, count)
        total = _missed(count, drawn).cumsum(0)
        before = torch.where(nearer[rows] > 0, total[nearer[rows] - 1], 0.0)
        found[rows] = ((total[nearer[rows] + as_near[rows]] - before) / (as_near[rows] + 1)).float()
        chance[rows] = 1 / (drawn + 1)
    return float(found.mean()), float(chance.mean())


def _missed(count: int, drawn: int) -> Tensor:
    """The chance that none of k marked ones is among ``drawn`` of ``count``, for every k: float64 [count + 1]."""
    left = torch.arange(count, -1, -1, dtype=torch.float64)
    logs = torch.lgamma(left + 1) - torch.lgamma((left - drawn).clamp_min(0) + 1)
    return torch.where(left >= drawn, (logs - logs[0]).exp(), 0.0)


def nearest(first: Tensor, second: Tensor) -> Tensor:
    """For each first copy [N, D], which row of the second copies is the nearest by cosine: int64 [N]."""
    return (F.normalize(first.float(), dim=1) @ F.normalize(second.float(), dim=1).T).argmax(1)


def found_copies(first: Tensor, second: Tensor, answers: Mapping[str, Tensor]) -> Sequence[Panel]:
    """Both copies as pictures [n, 3, H, W] in 0..1, and which second copy each first one finds among those shown."""
    chosen = nearest(answers["first"], answers["second"])
    right = answers["asked"][chosen] == answers["asked"]
    found = framed(second[chosen.to(second.device)], right)
    caption = f"the second copy nearest to the first: {int(right.sum())} of {len(right)} are its own"
    return [("first copy", first), ("second copy", second), (caption, found)]
