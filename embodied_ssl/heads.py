"""Heads that two or more methods share."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F


def places(found: Tensor, cells: int) -> Tensor:
    """A map [B, D, H, W] pooled to ``cells`` x ``cells`` places, one after another: [B, D * cells^2]; its mean for one."""
    return F.adaptive_avg_pool2d(found, cells).flatten(1)


def mlp(*widths: int, norm: bool = True) -> nn.Sequential:
    """Linear layers with BatchNorm (or not) and ReLU between them: [B, widths[0]] to [B, widths[-1]]; the last is plain."""
    layers: list[nn.Module] = []
    for number, (inner, outer) in enumerate(itertools.pairwise(widths)):
        last = number == len(widths) - 2
        layers.append(nn.Linear(inner, outer, bias=last or not norm))
        if not last:
            layers += [nn.BatchNorm1d(outer), nn.ReLU(inplace=True)] if norm else [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
