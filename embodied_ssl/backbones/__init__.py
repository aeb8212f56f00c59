"""Backbones: pictures in, one map per stage and one vector out.

The networks are torchvision's (or timm's), with their own parameter names, so that an exported file loads into the plain
network with nothing of ours installed.
"""

from embodied_ssl.backbones.backbone import Backbone, Features
from embodied_ssl.backbones.config import BackboneConfig, described, names, untrained

__all__ = ["Backbone", "BackboneConfig", "Features", "described", "names", "untrained"]
