"""A slow copy: a network that follows another one by a moving average of its weights, and is never trained itself.

What it says of a picture changes slowly, so that answers of many steps can be compared with each other (MoCo's queue of keys)
or serve as targets (BYOL, DINO). He et al. 2020, arXiv:1911.05722, eq. 2.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from embodied_ssl.errors import UserError


class MomentumCopy(nn.Module):
    """A copy of a module whose parameters move a little towards the module's after every step. It is a part of the method.

    Only parameters follow. Buffers are copied by `start` and are the copy's own from then on: BatchNorm's running statistics
    come from the copy's own passes in training mode, as in the authors' program, because they belong to *its* weights.

    In ``m`` per step, half of what the module was is left after log(0.5) / log(m) steps: 69 for 0.99, 173 for 0.996, 693 for
    0.999, 1386 for 0.9995. A run should last many such half-lives.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)

    def forward(self, *given: Any) -> Any:
        """What the copy makes of its input, without gradient."""
        with torch.no_grad():
            return self.module(*given)

    @torch.no_grad()
    def start(self, module: nn.Module) -> None:
        """Be as the module is now: its parameters and its buffers. For `embodied_ssl.core.Method.start`."""
        self.module.load_state_dict(module.state_dict())

    @torch.no_grad()
    def update(self, module: nn.Module, momentum: float) -> None:
        """Every parameter becomes momentum * its own + (1 - momentum) * the module's; 1 changes nothing, to the bit.

        For `embodied_ssl.core.Method.after_step`. Updating after a step or before the next one's forward pass, as MoCo's
        program does, is the same.
        """
        for slow, fast in zip(self.module.parameters(), module.parameters(), strict=True):
            slow.lerp_(fast.detach(), 1 - momentum)


def rising(start: float, progress: float) -> float:
    """A momentum that rises to 1 along half a cosine: ``start`` at progress 0, halfway to 1 in the middle, 1 at the end.

    Grill et al. 2020 (BYOL), arXiv:2006.07733, section 3.2; MoCo v3 does the same.
    """
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


def check_momentum(momentum: float) -> None:
    """Refuse what is no share.

    Raises:
        UserError: says what is accepted.
    """
    if not 0 <= momentum < 1:
        raise UserError(f"momentum is {momentum}; give at least 0 and below 1 (0.99 for short runs, 0.999 for long ones)")
