"""Slow features (DrLIM) from the frames of drives, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Hadsell, Chopra and LeCun 2006, eq. 4, on frames as in Jayaraman and Grauman 2015, arXiv:1505.02206 (KITTI at 32 x 32
grey, three convolutions): the invariance that ego-motion equivariance is compared with. As many frames a step as there.
Data: a folder of donkeycar tubs; steering and throttle are not looked at. Any recordings will do: for videos give
``data=VideoFolder()`` in a config of your own and leave ``cuts`` on.
Time: about 8 minutes of one CPU core.
Command: embodied-ssl pretrain slow_features --set data.root=TUBS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.donkeycar import Donkeycar
from embodied_ssl.methods.embodied.slow_features import SlowFeaturesConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=SlowFeaturesConfig(size=64, cuts=False),
    data=Donkeycar(in_deviations=True),
    optimizer=AdamW(rate=1e-3),
    batch_size=42,
    steps=400,
)
