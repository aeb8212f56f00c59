"""Finding a picture's own row of a memory bank among others: the loss that instance discrimination and PIRL share.

What is compared with what:
- A training picture's answer is its own row. In the ``softmax`` form it is told from all other rows, or from ``negatives``
  of them drawn anew (never its own). In the ``nce`` form it is told from noise: ``negatives`` rows drawn from *all*, its own
  included, as the estimate supposes and as the authors' program does.
- A held-out picture has no row. What the network makes of the whole picture stands for it; the others are training pictures'
  rows, all or ``negatives`` of them that lie evenly through the bank, so that nothing is drawn.

Noise-contrastive estimation needs Z, the sum over rows of exp(cosine / temperature). It is estimated from the first step
(rows that were drawn times N) and kept from then on. That step itself uses its own estimate: each micro-batch its own, where
there are several, of which the mean is kept. Wu et al. 2018, arXiv:1805.01978, section 3.

Legend: B samples, N rows of the bank, M of them that a sample is compared with, D numbers in each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.core import Step
from embodied_ssl.errors import UserError
from embodied_ssl.methods.contrastive.memory_bank import MemoryBank


@dataclass(frozen=True)
class Memory:
    """The bank and its loss.

    Args:
        out: D.
        loss: ``nce``, or ``softmax`` (also known as InfoNCE).
        negatives: M; for ``softmax`` 0 takes all rows, which is exact and cheap for some ten thousand pictures.
        temperature: divides the cosine.
        keep: how much of its old row a picture's row keeps when the picture is seen.
        proximal: weight of the squared distance of a picture's vector from its row, which steadies learning while every
            picture is seen once an epoch (Wu et al., eq. 10, give 30; their program leaves it out).
    """

    out: int = 128
    loss: Literal["nce", "softmax"] = "nce"
    negatives: int = 4096
    temperature: float = 0.07
    keep: float = 0.5
    proximal: float = 0.0

    def __post_init__(self) -> None:
        if self.loss not in ("nce", "softmax"):
            raise UserError(f"loss is '{self.loss}'; give nce or softmax")
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; give a number above 0 (0.07 to 0.2 are usual)")
        if self.out < 2 or self.negatives < 0 or self.proximal < 0:
            given = f"out is {self.out}, negatives {self.negatives} and proximal {self.proximal}"
            raise UserError(f"{given}; give at least 2 numbers a row, and 0 or more of the others")
        if self.loss == "nce" and self.negatives == 0:
            raise UserError("negatives is 0, which means all rows and is for loss=softmax; give nce at least 1")
        if not 0 <= self.keep < 1:
            raise UserError(f"keep is {self.keep}; give at least 0 and less than 1, or rows would never change")


class MemoryContrast(nn.Module):
    """The bank, its loss and how both change; a method's part."""

    log_partition: Tensor

    def __init__(self, config: Memory) -> None:
        super().__init__()
        self.config = config
        self.bank = MemoryBank(config.out)
        self.register_buffer("log_partition", torch.zeros(0))  # log Z [1], once it is known

    def fit(self, count: int, rng: np.random.Generator) -> None:
        """A row for each of ``count`` training samples, and no Z yet.

        Raises:
            UserError: there are too few samples for so many negatives.
        """
        if count < 2:
            raise UserError(f"a memory bank tells pictures from each other, and there is {count} to train on; give at least 2")
        if self.config.negatives > count:
            raise UserError(
                f"negatives is {self.config.negatives}, but the memory bank has {count} rows, one a training picture; give at "
                f"most {count}, or set --set method.memory.loss=softmax --set method.memory.negatives=0 for all rows"
            )
        self.bank.fill(count, rng)
        self.log_partition = torch.zeros(0)

    def compare(self, branches: Sequence[tuple[float, Tensor]], index: Tensor, instead: Tensor | None = None) -> Step:
        """The loss of unit vectors against the bank.

        Args:
            branches: a weight and unit vectors [B, D] for each view of the pictures. Z is estimated from the first, and its
                vectors are carried to `update`.
            index: int64 [B], the pictures' rows.
            instead: unit vectors [B, D] in place of rows, for held-out pictures, which have none.

        Returns:
            The weighted sum of the branches' losses and the first one's figures. When all vectors and rows are equal, a
            branch's loss is ln(1 + M) + M ln(1 + 1/M) for ``nce`` whatever N is, and ln(M + 1) for ``softmax``: ln N over all.
        """
        chosen = self._chosen(index, held_out=instead is not None)
        own_rows = self.bank.rows[index] if instead is None else instead.detach()
        mine = index if instead is None else None
        scored = [self._scores(vectors, own_rows, chosen, mine) for _, vectors in branches]
        terms = self._losses(scored)
        if self.config.proximal:
            pulls = [(vectors - own_rows).square().sum(1).mean() for _, vectors in branches]
            terms = [term + self.config.proximal * pull for term, pull in zip(terms, pulls, strict=True)]
        loss = torch.stack([weight * term for (weight, _), term in zip(branches, terms, strict=True)]).sum()
        if instead is not None:
            return Step(loss)
        carry = {"index": index, "vectors": branches[0][1].detach()}
        if self.config.loss == "nce" and not len(self.log_partition):
            carry["log_mean"] = _log_mean(*scored[0])
        return Step(loss, self._figures(*scored[0], chosen, index), carry)

    @torch.no_grad()
    def update(self, carry: Mapping[str, Tensor]) -> None:
        """After a step: keep its estimate of Z, if it is the first, and move the rows of the pictures it saw."""
        if "log_mean" in carry:
            log_mean = carry["log_mean"]
            self.log_partition = (log_mean.logsumexp(0) + math.log(len(self.bank) / len(log_mean))).unsqueeze(0)
        self.bank.update(carry["index"], carry["vectors"], self.config.keep)

    def describe(self) -> dict[str, object]:
        """How many rows the bank has and with how many of them a picture is compared."""
        return {"rows": len(self.bank), "compared_with": self.config.negatives or len(self.bank) - 1}

    def _chosen(self, index: Tensor, held_out: bool) -> Tensor | None:
        """The rows to compare with, int64 [B, M]; None for all."""
        count = self.config.negatives
        if not count:
            return None
        if held_out:
            return self.bank.evenly(count).expand(len(index), -1)
        return self.bank.drawn(count, index, with_own=self.config.loss == "nce")

    def _scores(self, vectors: Tensor, own_rows: Tensor, chosen: Tensor | None, mine: Tensor | None) -> tuple[Tensor, Tensor]:
        """Cosines divided by the temperature: with the own row [B], with others [B, M]. Among all rows the own is -inf there."""
        own = (vectors * own_rows).sum(1) / self.config.temperature
        others = self.bank.cosines(vectors, chosen) / self.config.temperature
        if chosen is None and mine is not None:
            others = others.scatter(1, mine.unsqueeze(1), -math.inf)
        return own, others

    def _log_partition(self, own: Tensor, others: Tensor) -> Tensor:
        """Log Z as it is kept, or as this batch's scores suggest, while there is none."""
        if len(self.log_partition):
            return self.log_partition[0]
        log_means = _log_mean(own, others)
        return log_means.logsumexp(0) + math.log(len(self.bank) / len(own))

    def _losses(self, scored: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        if self.config.loss == "nce":
            log_partition = self._log_partition(*scored[0])
            return [noise_contrastive(own, others, log_partition, len(self.bank)) for own, others in scored]
        first = torch.zeros(len(scored[0][0]), dtype=torch.int64, device=scored[0][0].device)
        return [F.cross_entropy(torch.cat([own.unsqueeze(1), others], dim=1), first) for own, others in scored]

    @torch.no_grad()
    def _figures(self, own: Tensor, others: Tensor, chosen: Tensor | None, index: Tensor) -> dict[str, Tensor]:
        """How often the own row is the nearest of those compared, beside chance, and the cosines with it and with the others."""
        rival = others if chosen is None else others.masked_fill(chosen == index.unsqueeze(1), -math.inf)
        rows, drawn = len(self.bank) - 1, self.config.negatives
        drawn_from = rows + (self.config.loss == "nce")
        different = rows * (1 - (1 - 1 / drawn_from) ** drawn) if drawn else rows  # on average, of those that are not its own
        seen = rival.isfinite()
        return {
            "accuracy": (own > rival.amax(1)).float().mean(),
            "chance_accuracy": own.new_tensor(1 / (1 + different)),
            "own_cosine": own.mean() * self.config.temperature,
            "other_cosine": rival.where(seen, 0).sum() / seen.sum().clamp_min(1) * self.config.temperature,
        }


def _log_mean(own: Tensor, others: Tensor) -> Tensor:
    """Logarithm of the mean of exp over a picture's scores, its own row's among them: [B], detached."""
    scores = torch.cat([own.unsqueeze(1), others], dim=1).detach()
    return scores.logsumexp(1) - math.log(scores.shape[1])


def noise_contrastive(own: Tensor, others: Tensor, log_partition: Tensor, rows: int) -> Tensor:
    """Cross-entropy of telling a picture's row from M rows of noise, of which each is drawn with probability 1 / N.

    Wu et al. 2018, eq. 6 to 8: with P = exp(score) / Z and h = P / (P + M / N), the mean of -log h(own) - sum log(1 - h(other)).

    Args:
        own: scores (cosine / temperature) of each picture with its row [B].
        others: with the noise [B, M].
        log_partition: log Z, a scalar.
        rows: N.

    Returns:
        A scalar; ln(1 + M) + M ln(1 + 1/M) when P is 1/N everywhere: 9.31789 for M = 4096.
    """
    # h is the logistic function of log P - log(M / N): nothing overflows, however small the temperature.
    shift = log_partition + math.log(others.shape[1] / rows)
    return -(F.logsigmoid(own - shift) + F.logsigmoid(shift - others).sum(1)).mean()
