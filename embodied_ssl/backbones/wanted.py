"""What a builder of networks is told: which one, with how many input channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embodied_ssl.errors import UserError


@dataclass(frozen=True)
class Wanted:
    """Which network, by name.

    Args:
        name: one of `embodied_ssl.backbones.names`, ``torchvision:NAME``, or ``timm:NAME`` with the timm extra installed.
        channels: input channels.
        stem: of a ResNet: ``large`` (7x7 stride 2 and max-pool: ImageNet) or ``small`` (3x3, no pool: 32-pixel pictures).
    """

    name: str = "resnet18"
    channels: int = 3
    stem: Literal["large", "small"] = "large"

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise UserError(f"backbone.channels is {self.channels}; give at least 1")
