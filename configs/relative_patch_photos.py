"""Relative patches on any folder of photographs, ResNet-18, patches of 48 pixels, sized for a laptop.

Paper: Doersch, Gupta and Efros 2015, arXiv:1505.05192 (AlexNet, patches of 96 pixels, weeks on a GPU).
Data: a folder of photographs, of 60 pixels a side at the least; a few hundred are enough to try, thousands to learn.
Command: embodied-ssl pretrain relative_patch_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.relative_patch import RelativePatchConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=RelativePatchConfig(size=48, grids=2),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=24,
    steps=600,
)
