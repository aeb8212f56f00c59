"""Multi-crop: a few large crops of a picture and several small ones, which cost little and show it in parts.

Caron et al. 2020 (SwAV), arXiv:2006.09882, section 3.2. Only the large crops say what a picture is given to; all crops are asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from embodied_ssl.backbones import Backbone
from embodied_ssl.errors import UserError
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop


@dataclass(frozen=True)
class MultiCropConfig:
    """The crops of a method.

    Args:
        size, area, large: C large crops of this side in pixels, each of a share of the picture; at least 2.
        small_size, small_area, small: so many small crops.
        colour: how colours change; half of SimCLR's strength suits small pictures.
    """

    size: int = 64
    area: tuple[float, float] = (0.25, 1.0)
    large: int = 2
    small_size: int = 32
    small_area: tuple[float, float] = (0.05, 0.25)
    small: int = 4
    colour: ColourChange = field(default_factory=ColourChange)

    def __post_init__(self) -> None:
        if self.large < 2 or self.small < 0:
            given = f"large is {self.large} and small {self.small}"
            raise UserError(f"{given}; give at least 2 large crops, which are compared, and 0 small ones")
        self.crops()

    def crops(self) -> ColouredCrops:
        """The view: large crops first.

        Raises:
            UserError: crops that cannot be made.
        """
        large = Crop(self.size, self.area, self.colour)
        small = Crop(self.small_size, self.small_area, self.colour)
        return ColouredCrops((large,) * self.large + (small,) * self.small)

    def check_backbone(self, backbone: Backbone) -> None:
        """Refuse small crops of which the backbone would see nothing.

        Raises:
            UserError: names the smallest side that it takes.
        """
        if self.small:
            backbone.check_side(self.small_size)
