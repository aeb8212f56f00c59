"""Ego-motion classification from steering and throttle (donkeycar tubs), ResNet-18 at 64 pixels, sized for a laptop.

Paper: Agrawal, Carreira and Malik 2015, arXiv:1505.01596 (KITTI odometry, AlexNet: see ego_motion_kitti_classification).
Data: a folder of donkeycar tubs; commands stand for motion where no pose was measured. For poses give their number of axes:
--set method.axes=3 --set data.axes=left,forward,left_yaw.
Time: about 7 minutes of one CPU core. The last map of 64 pixels has 2 x 2 places, from which motion is learned slowly: not above
chance after 120 steps (of conv4 at 48 pixels: after 200).
Command: embodied-ssl pretrain ego_motion_classification --set data.root=TUBS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.methods.embodied.ego_motion_classification import EgoMotionClassificationConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=EgoMotionClassificationConfig(size=64),
    data=Donkeycar(in_deviations=True),
    optimizer=AdamW(rate=1e-3),
    batch_size=64,
    steps=400,
)
