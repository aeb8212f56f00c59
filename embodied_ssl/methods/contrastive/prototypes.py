"""Prototypes: directions that pictures are told apart by, and what can be asked of any method that has them.

Legend: N questions, H sets of K prototypes, C crops that are compared, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.core import Panel
from embodied_ssl.errors import UserError
from embodied_ssl.losses import precise


class Prototypes(nn.Module):
    """K rows of unit length, without bias, learnt like any other weights; scores are cosines.

    As in SwAV's program the gradient is that of plain rows, and they are brought back to unit length afterwards:
    `renormalise` belongs into `embodied_ssl.core.Method.after_step`.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(count, width), dim=1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Unit vectors [..., D] to cosines [..., K], see `cosines`."""
        return cosines(vectors, self.weight)

    @torch.no_grad()
    def renormalise(self) -> None:
        """Bring every row back to unit length."""
        self.weight.copy_(F.normalize(self.weight, dim=1))


def cosines(vectors: Tensor, rows: Tensor) -> Tensor:
    """Unit vectors [..., D] against unit rows [K, D]: [..., K], in float32 at least, autocast or not.

    Sinkhorn divides them by 0.05: what bf16 rounds off would change codes by a tenth.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        return precise(vectors) @ precise(rows).T


def check_prototypes(prototypes: int, samples: int) -> None:
    """Refuse more prototypes than there are pictures to share among them.

    Raises:
        UserError: says both numbers.
    """
    if prototypes > samples:
        raise UserError(
            f"{prototypes} prototypes are more than the {samples} pictures to learn from; "
            f"give at most {samples} with --set method.prototypes=, better a tenth of that"
        )


def agreement(given: Tensor, prototypes: int) -> tuple[Tensor, Tensor]:
    """How often two crops of a picture are given to the same prototype, over all sets and pairs of crops; and chance.

    Chance is the agreement of answers given as often, but independently: 1 when everything is given to one prototype.

    Args:
        given: int64 [N, H, C].
        prototypes: K.
    """
    one, other = torch.triu_indices(given.shape[2], given.shape[2], offset=1, device=given.device)
    shares = often(given, prototypes) / len(given)
    same = (given[:, :, one] == given[:, :, other]).float().mean()
    return same, (shares[:, one] * shares[:, other]).sum(2).mean()


def often(given: Tensor, prototypes: int) -> Tensor:
    """How many of int64 [N, H, C] were given to each prototype: float [H, C, K]."""
    where = given.permute(1, 2, 0)
    counts = torch.zeros(*where.shape[:2], prototypes, device=given.device)
    return counts.scatter_add_(2, where, counts.new_ones(()).expand(where.shape))


def prototype_figures(nearest: Tensor, prototypes: int) -> dict[str, float]:
    """Held out: do two crops of a picture fall to the same prototype (`agreement`), and how many prototypes are ``used`` at all?

    Chance of ``used`` is the share that as many random answers would use.

    Args:
        nearest: int [N, H, C], the nearest prototype of each crop in each set.
        prototypes: K.
    """
    same, chance = agreement(nearest.long(), prototypes)
    used = (often(nearest.long(), prototypes).sum(1) > 0).float().mean()
    answers = len(nearest) * nearest.shape[2]
    return {
        "agreement": float(same),
        "chance_agreement": float(chance),
        "used": float(used),
        "chance_used": 1 - (1 - 1 / prototypes) ** answers,
    }


def grouped(crops: Sequence[Tensor], given: Tensor, groups: int = 4) -> Sequence[Panel]:
    """Crops under the prototype they were given: the prototypes that were given most crops, one row each.

    Args:
        crops: C of float [n, 3, S, S] in 0..1.
        given: int [n, C], the prototype of each.
        groups: at most so many rows.
    """
    pictures = torch.stack(list(crops), dim=1).flatten(0, 1)  # crops of one picture side by side
    picture = torch.arange(len(given), device=given.device).repeat_interleave(given.shape[1])
    flat = given.long().flatten()
    often = flat.bincount()
    rows: list[Panel] = []
    for prototype in often.argsort(descending=True, stable=True)[:groups].tolist():
        members = flat == prototype
        if not members.any():
            break
        shown = pictures[members.to(pictures.device)][: len(given)]
        crops_of_it, pictures_of_it = int(members.sum()), len(picture[members].unique())
        said = f"{_counted(crops_of_it, 'crop')} of {_counted(pictures_of_it, 'picture')}"
        rows.append((f"given to prototype {prototype}: {said}", shown))
    return rows


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)
