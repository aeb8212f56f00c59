"""Ego-motion classification at the paper's scale: KITTI odometry, 227 pixels, AlexNet, 250,000 steps of 128 pairs.

Paper: Agrawal, Carreira and Malik 2015, arXiv:1505.01596. Kept: sideways, forward and yaw motion in 20 bins each (and one
more at either end), frames up to 7 apart, last maps joined; rate 0.001, halved every 20,000 steps, weight decay 0.0005.
Different: AlexNet here has BatchNorm; one camera of the two (--set data.camera=3 is the other); the held-out sequences are
chosen by name (theirs are 6 and 9); the common crop covers at least 80 % of the frame (theirs: 227 of 256 pixels a side).
Data: the KITTI odometry benchmark (sequences/NN, poses/NN.txt), colour.
Hardware: a GPU; 64 million frames are seen. Not run at this size here.
Command: embodied-ssl pretrain ego_motion_kitti_classification --set data.root=KITTI
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.kitti_odometry import KittiOdometry
from embodied_ssl.methods.embodied.ego_motion_classification import EgoMotionClassificationConfig
from embodied_ssl.methods.embodied.pairs import AS_THEY_ARE
from embodied_ssl.optim import SGD, Schedule

STEPS, HALVED_EVERY = 250_000, 20_000

run = Run(
    method=EgoMotionClassificationConfig(size=227, axes=3, gap=7, colour=AS_THEY_ARE),
    data=KittiOdometry(axes=("left", "forward", "left_yaw"), short_side=256),
    backbone=BackboneConfig("alexnet"),
    optimizer=SGD(rate=1e-3, weight_decay=5e-4),
    schedule=Schedule("step", warmup=0.0, drops=tuple(n / STEPS for n in range(HALVED_EVERY, STEPS, HALVED_EVERY)), gamma=0.5),
    batch_size=128,
    steps=STEPS,
    checkpoint_every=2000,
    held_out_every=5000,
)
