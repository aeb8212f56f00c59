"""Shuffle and Learn on any folder of videos, ResNet-18 at 96 pixels, sized for a laptop.

Paper: Misra et al. 2016, arXiv:1603.08561 (CaffeNet at 227 pixels, about 900,000 tuples of UCF101, 100,000 steps of 128).
Data: a folder of videos of at least 33 frames each; egocentric ones are what it is for. Nothing needs to be prepared.
Command: embodied-ssl pretrain temporal_order --set data.root=VIDEOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.methods.video.temporal_order import TemporalOrderConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=TemporalOrderConfig(size=96),
    data=VideoFolder(),
    optimizer=AdamW(rate=1e-3),
    batch_size=32,
    steps=400,
)
