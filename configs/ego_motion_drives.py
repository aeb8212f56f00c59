"""Ego-motion equivariance from simulated drives: the paper's small grey network at 32 pixels, sized for a laptop.

Paper: Jayaraman and Grauman 2015, arXiv:1505.02206, whose net, input and optimiser these are (see ego_motion_kitti_32); rates,
batch and steps are ours. Rooms are seen once each, so that a view never tells the motion, as it does where a car drives in
circles. Maps learn 30 times as fast as the network: at its own rate they stay next to the identity, where all are alike (a loss
of 0.9, and after 900 steps 0.44 of held-out pairs right), as they do with AdamW and 10 times in two of three seeds. It is not for
every case: with the ResNet on donkeycar, where places tell the motion, 10 times cost 2 points of transfer (36.1 for 38.5).
Measured: 719 rooms to learn from, 81 held out, 400 steps (51,200 pairs), three seeds; of held-out pairs the nearest map is
    their own in 0.70 to 0.78 (chance 0.333; 0.34 where nothing moved). Maps fitted anew to all networks alike, on the space that
    the loss saw, moved R2 / right over wrong map: 0.687 +- 0.005 / 0.464; DrLIM 0.611 / 0.482, temporal coherence 0.587 / 0.524,
    untrained 0.498 / 0.658. In the exported vector 0.561 / 0.592, 0.331 / 0.655, 0.373 / 0.713 and 0.519 / 0.643.
Data: embodied-ssl simulate --task drive --episodes 800 --set stills.train=0 --set stills.test=0 --out DRIVES (5 minutes of two
    cores), or any KITTI raw drives with oxts.
Command: embodied-ssl pretrain ego_motion_drives --set data.root=DRIVES
    and to measure its features: embodied-ssl equivariance RUN --on DRIVES --size 32 --layers projection,vector
"""

from dataclasses import replace

from embodied_ssl.configs.ego_motion_kitti_32 import run as paper
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.embodied.pairs import AS_THEY_ARE

run = replace(
    paper,
    method=EgoMotionEquivarianceConfig(size=32, map_rate=30.0, area=(1.0, 1.0), colour=AS_THEY_ARE),
    steps=400,
    checkpoint_every=200,
    held_out_every=200,
)
