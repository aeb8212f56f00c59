"""A backbone: pictures in, one map per stage and one vector out.

Legend: B examples, C channels, H W pixels, D features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from embodied_ssl.errors import UserError


class Features(NamedTuple):
    """What a backbone gives.

    Attributes:
        maps: stage name -> [B, D_s, H_s, W_s] (token backbones: the tokens on their grid), in order of depth.
        vector: [B, D], the last map averaged over space unless the backbone's own paper pools otherwise.
    """

    maps: dict[str, Tensor]
    vector: Tensor


class Backbone(nn.Module):
    """A network cut into named stages.

    Attributes:
        name: as the user wrote it.
        channels: input channels.
        smallest: side in pixels of the smallest picture that passes; 1 where nothing is too small.
        width: D of the vector.
        stages: names of the maps, shallow to deep.
        net: the plain network, whose ``state_dict`` is what is exported.

    ``parts`` names, for each stage, the children of ``net`` that it runs in turn: names rather than the modules
    themselves, so that a deep copy (a momentum encoder) runs its own children.
    """

    has_maps = True

    def __init__(
        self,
        name: str,
        net: nn.Module,
        parts: dict[str, tuple[str, ...]],
        channels: int,
        probe_size: int = 64,
        smallest: int = 1,
    ) -> None:
        super().__init__()
        self.name = name
        self.net = net
        self.channels = channels
        self.smallest = smallest
        self.parts = parts
        self.stages = tuple(parts)
        with torch.no_grad():
            training = net.training
            net.eval()
            self.width = int(self(torch.zeros(1, channels, probe_size, probe_size)).vector.shape[1])
            net.train(training)

    def check_side(self, side: int) -> None:
        """Refuse pictures of which nothing would be left after the network's pools.

        Raises:
            UserError: says both sizes.
        """
        if side < self.smallest:
            raise UserError(
                f"{self.name} needs pictures of at least {self.smallest} pixels a side, these have {side}; "
                "make them larger, or choose another backbone"
            )

    def grid_stage(self, size: int, cells: int) -> tuple[str, int]:
        """The deepest stage whose map of a ``size``-pixel picture still has ``cells`` x ``cells`` places, and its channels.

        For questions of where, which the vector has averaged away. The last stage when none is so fine.
        """
        sizes = self.map_sizes(size)
        fine = [name for name, (_, side) in sizes.items() if side >= cells]
        chosen = fine[-1] if fine else self.stages[-1]
        return chosen, sizes[chosen][0]

    def map_sizes(self, size: int) -> dict[str, tuple[int, int]]:
        """Of every stage's map of a ``size``-pixel picture: its channels, and its places a side."""
        training = self.training
        self.eval()
        with torch.no_grad():
            maps = self(torch.zeros(1, self.channels, size, size, device=next(self.parameters()).device)).maps
        self.train(training)
        return {name: (int(found.shape[1]), int(min(found.shape[2:]))) for name, found in maps.items()}

    def forward(self, pictures: Tensor) -> Features:
        """Float [B, C, H, W], normalised, to `Features`.

        Raises:
            UserError: the pictures are smaller than ``smallest``.
        """
        self.check_side(min(pictures.shape[2:]))
        maps: dict[str, Tensor] = {}
        x = pictures
        for stage, parts in self.parts.items():
            for part in parts:
                x = self.net.get_submodule(part)(x)
            maps[stage] = x
        return Features(maps, x.mean(dim=(2, 3)))
