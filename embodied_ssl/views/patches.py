"""What patches need before a network sees them: neither brightness nor the lens may tell where in a picture they were cut.

Neighbouring patches share their mean colour and contrast, so each is brought to its own mean and strength. Lenses magnify red
and blue a little more than green, the more so the further from the centre (chromatic aberration), so the fringes of one patch
tell its place; either the colours along that axis are left out (`without_green_magenta`) or all channels but one
(`keep_one_channel`). Doersch, Gupta and Efros 2015, arXiv:1505.05192, section 3.1.

Legend: C channels, H W pixels; ``...`` is any number of leading axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

GREEN_MAGENTA = (-1.0, 2.0, -1.0)  # the axis a in RGB along which red and blue together part from green
LEAST_SPREAD = 1 / 255  # one grey level: a patch flatter than this is not stretched, it would be nothing but noise
DROPPED_SPREAD = 1 / 100  # of the kept channel's: how strong the noise in place of the dropped channels is

# B = I - a a' / (a' a): idempotent, of rank 2; it leaves greys as they are and makes pure green a grey of a third.
WITHOUT_GREEN_MAGENTA = ((5 / 6, 2 / 6, -1 / 6), (2 / 6, 2 / 6, 2 / 6), (-1 / 6, 2 / 6, 5 / 6))


def standardise_each(patches: Tensor) -> Tensor:
    """Each picture of [..., C, H, W] to mean 0 in every channel and standard deviation 1 over all its channels together.

    The mean is each channel's own, so that no colour cast is shared by neighbours; the strength is common, so that a channel
    of faint noise (`keep_one_channel`) stays faint. The authors of the relative patches do the same, to a root mean square of
    50 on a scale of 0..255; ours is 1, which is what networks fed by `pixels.normalise` are used to.

    Args:
        patches: in 0..1. Standard deviations below one grey level (1/255) count as one: a constant patch becomes 0, not NaN.
    """
    centred = patches - patches.mean(dim=(-2, -1), keepdim=True)
    spread = centred.square().mean(dim=(-3, -2, -1), keepdim=True).sqrt()
    return centred / spread.clamp_min(LEAST_SPREAD)


def without_green_magenta(pictures: Tensor) -> Tensor:
    """Float RGB [..., 3, H, W] without its green-magenta part: each pixel times `WITHOUT_GREEN_MAGENTA`; greys stay."""
    matrix = torch.tensor(WITHOUT_GREEN_MAGENTA, device=pictures.device, dtype=pictures.dtype)
    return torch.einsum("ij,...jhw->...ihw", matrix, pictures)


def keep_one_channel(pictures: Tensor, kept: Tensor, noise: Tensor) -> Tensor:
    """Float [..., 3, H, W] with one channel each; in the place of the other two is noise around that channel's mean.

    Args:
        pictures: RGB.
        kept: int [...], 0 to 2: the channel that is kept.
        noise: of mean 0 and standard deviation 1, [..., 3, H, W]; it is made a hundredth as strong as the kept channel.
    """
    chosen = kept.long()[..., None, None, None].expand(*kept.shape, 1, *pictures.shape[-2:])
    channel = pictures.gather(-3, chosen)
    mean = channel.mean(dim=(-2, -1), keepdim=True)
    spread = (channel - mean).square().mean(dim=(-2, -1), keepdim=True).sqrt()
    own = torch.arange(3, device=pictures.device).view(3, 1, 1) == kept[..., None, None, None]
    return torch.where(own, pictures, mean + DROPPED_SPREAD * spread * noise)
