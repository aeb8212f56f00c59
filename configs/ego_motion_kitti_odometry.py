"""Ego-motion equivariance on KITTI odometry sequences, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Jayaraman and Grauman 2015, arXiv:1505.02206 (KITTI at 32 x 32 grey, three convolutions).
Data: the KITTI odometry benchmark (sequences/NN, poses/NN.txt). Held-out figures need at least two sequences.
Command: embodied-ssl pretrain ego_motion_kitti_odometry --set data.root=KITTI
"""

from dataclasses import replace

from embodied_ssl.configs.ego_motion_equivariance import run as donkeycar
from embodied_ssl.datasets.kitti_odometry import KittiOdometry

run = replace(donkeycar, data=KittiOdometry())
