"""Multi-crop: a few large crops of a picture and several small ones, which cost little and show it in parts.

Caron et al. 2020 (SwAV), arXiv:2006.09882, section 3.2. Only the large crops say what a picture is given to; all crops are asked.
"""

from __future__ import annotations

from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.views.colour import ColourChange
from embodied_ssl.views.coloured_crops import ColouredCrops, Crop

LOOKED_AT = 32  # pictures


def multi_crop(
    size: int,
    area: tuple[float, float],
    large: int,
    small_size: int,
    small_area: tuple[float, float],
    small: int,
    colour: ColourChange,
) -> ColouredCrops:
    """``large`` crops of side ``size``, then ``small`` ones of side ``small_size``, each of a random share of the picture.

    Raises:
        UserError: fewer than two large crops, or crops that cannot be made.
    """
    if large < 2 or small < 0:
        raise UserError(f"large is {large} and small {small}; give at least 2 large crops, which are compared, and 0 small ones")
    return ColouredCrops((Crop(size, area, colour),) * large + (Crop(small_size, small_area, colour),) * small)


def check_not_enlarged(source: Source, size: int) -> None:
    """Refuse crops that are larger than every picture: nothing but blur would be added.

    A few pictures are looked at, evenly spread. Where some are large enough the small ones are enlarged, as everywhere.

    Raises:
        UserError: names the largest of those looked at.
    """
    sides = []
    for number in range(min(LOOKED_AT, len(source))):
        try:
            sides.append(min(source[number * len(source) // min(LOOKED_AT, len(source))]["picture"].size))
        except BadItem:
            continue  # named when its turn comes
    if sides and max(sides) < size:
        raise UserError(
            f"crops of {size} pixels are larger than the pictures of {source.name}, of which {len(sides)} were looked at: the "
            f"largest has {max(sides)} on its shorter side; give --set method.size={max(sides)} or less"
        )
