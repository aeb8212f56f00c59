"""Ego-motion equivariance at the paper's scale: KITTI raw, 32 x 32 grey, the small network of three convolutions.

Paper: Jayaraman and Grauman 2015, arXiv:1505.02206. Kept: whole frames squeezed to 32 x 32, grey; cuda-convnet's quick network,
a projection to 64 (both known second-hand); 6 clusters of which 3 are kept, horizon 1 s, margin 1; Nesterov momentum. Rate, batch
and steps are ours (theirs are chosen on a grid), and pairs are mirrored here.
Data: KITTI raw drives with oxts (camera 2 made grey; --set data.camera=0 for the grey camera).
Time: not run at this size here; 256 frames of 32 x 32 a step.
Command: embodied-ssl pretrain ego_motion_kitti_32 --set data.root=KITTI
    and, to judge it as it was trained: embodied-ssl evaluate RUN --on SCENES --size 32
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.kitti_raw import KittiRaw
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.embodied.pairs import AS_THEY_ARE
from embodied_ssl.optim import SGD

run = Run(
    method=EgoMotionEquivarianceConfig(size=32, area=(1.0, 1.0), colour=AS_THEY_ARE),
    data=KittiRaw(),
    backbone=BackboneConfig("convnet_quick", channels=1),
    optimizer=SGD(rate=0.01, nesterov=True),
    batch_size=128,
    steps=20_000,
    checkpoint_every=1000,
    held_out_every=1000,
)
