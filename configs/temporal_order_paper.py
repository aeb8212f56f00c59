"""Shuffle and Learn at the paper's scale: UCF101 split 1, 224 pixels, 100,000 steps of 128 tuples, flow-weighted.

Paper: Misra, Zitnick and Hebert 2016, arXiv:1603.08561. Kept: tau_min 15, tau_max 60, 75 % counter-examples, SGD at 0.001
with a tenth from step 80,000 on, weight decay 0.0005, each frame seen almost whole. Different: ResNet-18 for CaffeNet, a
hidden layer in the head (``--set method.hidden=0`` is the paper's), frames keep their shape before the crop.
Data: UCF101 in its published layout; run `embodied-ssl prepare UCF101 --motion farneback` first.
Hardware: one GPU of 16 GB or more with --set precision=bf16; about 64 million frames are seen. Not run at this size here.
Command: embodied-ssl pretrain temporal_order_paper --set data.root=UCF101
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.methods.video.temporal_order import TemporalOrderConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=TemporalOrderConfig(size=224, tuples=16, window=200, area=(0.8, 1.0), hidden=4096),
    data=VideoFolder(short_side=256),
    optimizer=SGD(rate=1e-3, weight_decay=5e-4),
    schedule=Schedule("step", warmup=0.0, drops=(0.8,)),
    batch_size=128,
    steps=100_000,
    checkpoint_every=2000,
    held_out_every=5000,
)
