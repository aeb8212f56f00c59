"""Ego-motion equivariance from steering and throttle (donkeycar tubs), ResNet-18 at 64 pixels, sized for a laptop.

Paper: Jayaraman and Grauman 2015, arXiv:1505.02206 (KITTI at 32 x 32 grey, three convolutions).
Data: a folder of donkeycar tubs; commands stand for motion where no pose was measured.
Measured: two tubs, 142 steps of 96 pairs at a rate of 0.0015 (2.5 minutes of one core), three seeds; held-out pairs whose own
    map is the nearest, balanced over patterns, chance 0.333: 0.66 to 0.68, and 0.53 to 0.58 already where nothing moved
    (`balanced_accuracy_unmoved`): in one of the rooms the car always turns right, so that the room and its mirror image tell
    the turn. What transfers: configs/studies/ego_motion_on_scenes.py.
Command: embodied-ssl pretrain ego_motion_equivariance --set data.root=TUBS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=EgoMotionEquivarianceConfig(size=64),
    data=Donkeycar(in_deviations=True),
    optimizer=AdamW(rate=1e-3),
    batch_size=64,
    steps=400,
)
