"""Heads that two or more methods share."""

from __future__ import annotations

import itertools

from torch import Tensor, nn
from torch.nn import functional as F


def places(found: Tensor, cells: int) -> Tensor:
    """A map [B, D, H, W] pooled to ``cells`` x ``cells`` places, one after another: [B, D * cells^2]; its mean for one."""
    return F.adaptive_avg_pool2d(found, cells).flatten(1)


def mlp(*widths: int, norm: bool = True, norm_out: bool = False) -> nn.Sequential:
    """Linear layers with BatchNorm (or not) and ReLU between them: [B, widths[0]] to [B, widths[-1]].

    The last is plain; ``norm_out`` has BatchNorm without scale and shift after it.
    """
    layers: list[nn.Module] = []
    for number, (inner, outer) in enumerate(itertools.pairwise(widths)):
        last = number == len(widths) - 2
        layers.append(nn.Linear(inner, outer, bias=not norm_out if last else not norm))
        if not last:
            layers += [nn.BatchNorm1d(outer), nn.ReLU(inplace=True)] if norm else [nn.ReLU(inplace=True)]
    if norm_out:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)
