"""Sub-batches: BatchNorm must not tell a query which key is its own.

Normalised together, the pictures of a batch carry its mean and variance like a stamp. A query and its key bear the same stamp
and the keys of earlier batches bear others, so the stamp answers the question and nothing is learned of pictures. Hence queries
and keys are normalised in small groups, a query's and its key's having as little in common as can be.

He et al. 2020 (MoCo), arXiv:1911.05722, section 3.3 (shuffling BatchNorm). There a group is what one GPU is given, and the keys'
pictures are shuffled over all GPUs by a drawn permutation. Here groups are parts of what one rank passes through the network at
once, whatever the number of ranks; each is a pass of its own, so that any network will do. And keys are exchanged by a fixed
pattern: the order of a batch is itself drawn, so this is as good as drawn. Of the n pictures in a query's group, n / groups are
in its key's group too (itself among them), so the statistics of both correlate by 1 / groups, instead of 1 in a common group.
What is given up: with several ranks a group is smaller than a rank's share, and keys never meet pictures of another rank.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from embodied_ssl.errors import UserError

Network = Callable[[Tensor], Tensor]  # pictures [n, C, H, W] to vectors [n, D]


def in_groups(network: Network, pictures: Tensor, groups: int) -> Tensor:
    """Vectors [B, D] of pictures [B, C, H, W], a pass for every group of B / groups neighbours."""
    return torch.cat([network(part) for part in pictures.chunk(groups)])


def in_other_groups(network: Network, pictures: Tensor, groups: int) -> Tensor:
    """The same, in the groups that have least in common with those of `in_groups`: every ``groups``-th picture together."""
    order = torch.arange(len(pictures), device=pictures.device).view(-1, groups).T.flatten()
    return in_groups(network, pictures[order], groups)[order.argsort()]


def has_batch_norm(*modules: nn.Module) -> bool:
    """Whether there is any layer whose result for one picture depends on the others in the batch."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for module in modules for part in module.modules())


def check_groups(together: int, groups: int) -> None:
    """Refuse pictures that do not make whole groups, or groups of a single picture, which BatchNorm would turn into nothing.

    Args:
        together: pictures that pass through a network with BatchNorm at once.
        groups: that they are to make.

    Raises:
        UserError: says which batches will do.
    """
    if together % groups or together < 2 * groups:
        given = f"{together} picture{'s' * (together != 1)} of the batch for each rank and micro-batch"
        wanted = f"{groups} groups of at least 2" if groups > 1 else "the 2 at least"
        raise UserError(
            f"{given} cannot make {wanted} that BatchNorm needs; choose a batch_size that gives them a multiple of {groups}, at "
            f"least {2 * groups}, or a network without BatchNorm"
        )
