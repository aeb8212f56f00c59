"""Ego-motion equivariance and slow features (DrLIM) at once, on the same drives, ResNet-18 at 64 pixels, sized for a laptop.

Paper: ``equiv+drlim`` of Jayaraman and Grauman 2015, arXiv:1505.02206. Each term has a projection of its own (theirs share
one), and the frames of a step are those of ego_motion_equivariance, half for each term.
Data: a folder of donkeycar tubs, given to both.
Time: about 8 minutes of one CPU core.
Command: embodied-ssl pretrain ego_motion_equivariance_drlim --set data.equivariance.root=TUBS --set data.slowness.root=TUBS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.methods.embodied.ego_motion_equivariance import EgoMotionEquivarianceConfig
from embodied_ssl.methods.embodied.slow_features import SlowFeaturesConfig
from embodied_ssl.methods.multi_task import MultiTaskConfig, Task
from embodied_ssl.optim import AdamW

run = Run(
    method=MultiTaskConfig(
        tasks={
            "equivariance": Task(EgoMotionEquivarianceConfig(size=64), batch_size=32),
            "slowness": Task(SlowFeaturesConfig(size=64, cuts=False), batch_size=22),
        },
    ),
    data={"equivariance": Donkeycar(in_deviations=True), "slowness": Donkeycar(in_deviations=True)},
    optimizer=AdamW(rate=1e-3),
    steps=400,
)
