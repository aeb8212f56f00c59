"""L-BFGS for many strictly convex problems of one shape at once, each with its own step lengths and its own end.

Nocedal and Wright 2006, algorithm 7.4, started from a diagonal that the problem knows in place of a multiple of the identity.
Problems stand in a grid of B rows and S columns; a column whose problems have all ended is taken out of the computation.
Legend: variables [B, r, S, K]; one value a problem [B, S].
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

MEMORY = 8  # steps remembered
STEPS = 1000
HALVINGS = 20  # of a step that leads uphill; beyond, what is left is rounding
TINY = 1e-300
ROUNDING = 1e-12  # of values, which are of the order of 1


class Objective(Protocol):
    """What is minimised."""

    def start(self) -> Tensor:
        """Where to begin [B, r, S, K]."""

    def value(self, at: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Values [B, S'] and gradients [B, r, S', K] of the problems in these columns [S']."""

    def inverse_curvature(self, columns: Tensor) -> Tensor:
        """About the inverse of the Hessian's diagonal, positive: [B, r, S', 1]."""

    def ended(self, value: Tensor, gradient: Tensor, columns: Tensor) -> Tensor:
        """Which problems are solved well enough: bool [B, S']."""


class Pair(NamedTuple):
    """What a step taught: how far the variables went, how the gradient changed, and one over their product."""

    step: Tensor
    change: Tensor
    inverse: Tensor


def minimise(objective: Objective, steps: int = STEPS) -> Tensor:
    """The minima [B, r, S, K]: where each problem says that it has ended, or no step leads down any more."""
    at = objective.start()
    found = torch.empty_like(at)
    columns = torch.arange(at.shape[2], device=at.device)
    value, gradient = objective.value(at, columns)
    stuck = torch.zeros_like(value, dtype=torch.bool)
    pairs: list[Pair] = []
    for _ in range(steps):
        ended = stuck | objective.ended(value, gradient, columns)
        going = ~ended.all(0)
        if not going.all():
            found[:, :, columns] = at
            columns, value, stuck, ended = columns[going], value[:, going], stuck[:, going], ended[:, going]
            at, gradient = at[:, :, going], gradient[:, :, going]
            pairs = [Pair(p.step[:, :, going], p.change[:, :, going], p.inverse[:, going]) for p in pairs]
            if not len(columns):
                break
        direction = _direction(gradient, pairs, objective.inverse_curvature(columns)) * _wide(~ended)
        step, value, new, failed = _search(objective, columns, at, value, gradient, direction)
        stuck = stuck | failed
        change = new - gradient
        product = _dot(step, change)
        pairs = [*pairs[-MEMORY + 1 :], Pair(step, change, torch.where(product > TINY, 1 / product, 0))]
        at, gradient = at + step, new
    found[:, :, columns] = at
    return found


def _direction(gradient: Tensor, pairs: list[Pair], inverse: Tensor) -> Tensor:
    """Minus the gradient times the inverse Hessian, as far as the diagonal and the remembered steps tell it."""
    q = gradient
    shares = []
    for pair in reversed(pairs):
        shares.append(_dot(pair.step, q) * pair.inverse)
        q = q - _wide(shares[-1]) * pair.change
    if pairs:
        last = pairs[-1]
        length = _dot(last.change, inverse * last.change) * last.inverse
        q = q * torch.where(_wide(length) > 0, _wide(1 / length.clamp_min(TINY)), 1)
    q = inverse * q
    for pair, share in zip(pairs, reversed(shares), strict=True):
        q = q + _wide(share - _dot(pair.change, q) * pair.inverse) * pair.step
    return -q


def _search(
    objective: Objective, columns: Tensor, at: Tensor, value: Tensor, gradient: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The step along each direction, halved until it leads down; value and gradient there; and whose search failed.

    Down is Armijo's condition or, where rounding hides a decrease, a slope that says the minimum along the line was not
    passed by far (Hager and Zhang 2005). A convex problem needs no second condition. A failed search's step is 0.
    """
    slope = _dot(gradient, direction)
    length = torch.ones_like(value)
    for _ in range(HALVINGS):
        step = _wide(length) * direction
        reached, new = objective.value(at + step, columns)
        near = (reached <= value + ROUNDING) & (_dot(new, direction) <= -0.8 * slope)
        down = (reached <= value + 1e-4 * length * slope) | near
        if down.all():
            return step, reached, new, ~down
        length = torch.where(down, length, length / 2)
    reached, new = torch.where(down, reached, value), torch.where(_wide(down), new, gradient)
    return step * _wide(down), reached, new, ~down


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 3))  # quicker than einsum here


def _wide(values: Tensor) -> Tensor:
    return values[:, None, :, None]
