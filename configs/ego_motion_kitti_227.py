"""Ego-motion equivariance at the journal version's scale: KITTI raw, 227 x 227 colour, AlexNet.

Paper: Jayaraman and Grauman, IJCV 2017 (Learning image representations tied to egomotion from unlabeled video), known
second-hand. Kept: whole frames squeezed to 227 x 227, an AlexNet, 6 clusters of which 3 are kept, horizon 1 s, Nesterov momentum.
Different: AlexNet here has BatchNorm and ends after its convolutions, whose 6 x 6 places are projected to 64 at once; rate,
batch and steps are ours; pairs are mirrored.
Data: KITTI raw drives with oxts.
Hardware: a GPU; not run at this size here.
Command: embodied-ssl pretrain ego_motion_kitti_227 --set data.root=KITTI
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.kitti_raw import KittiRaw
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.embodied.pairs import AS_THEY_ARE
from embodied_ssl.optim import SGD

run = Run(
    method=EgoMotionEquivarianceConfig(size=227, cells=6, area=(1.0, 1.0), colour=AS_THEY_ARE),
    data=KittiRaw(short_side=256),
    backbone=BackboneConfig("alexnet"),
    optimizer=SGD(rate=0.01, nesterov=True),
    batch_size=128,
    steps=20_000,
    checkpoint_every=1000,
    held_out_every=1000,
)
