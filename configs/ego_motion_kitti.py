"""Ego-motion equivariance from measured poses (KITTI raw layout), ResNet-18 at 64 pixels, sized for a laptop.

Paper: Jayaraman and Grauman 2015, arXiv:1505.02206 (KITTI at 32 x 32 grey, three convolutions).
Data: KITTI raw drives with oxts, or drives made by `embodied-ssl simulate --task drive`, which have the same layout.
Command: embodied-ssl pretrain ego_motion_kitti --set data.root=KITTI
"""

from dataclasses import replace

from embodied_ssl.configs.ego_motion_equivariance import run as donkeycar
from embodied_ssl.datasets.kitti_raw import KittiRaw

run = replace(donkeycar, data=KittiRaw())
