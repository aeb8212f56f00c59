"""Relative patches on any folder of photographs, ResNet-18, patches of 48 pixels, sized for a laptop.

Paper: Doersch, Gupta and Efros 2015, arXiv:1505.05192 (AlexNet, patches of 96 pixels, 1.7 M steps on a GPU).
Data: a folder of photographs of at least 62 pixels a side (smaller ones are left out and named); a few hundred are enough to try,
thousands to learn. Sharp photographs of full size want --set method.colours=drop, for their lens's sake.
About 0.7 s a step of 192 patches on one core. Of ImageNet pictures 160 pixels high, 1,200 of them, held-out accuracy was
0.154 after 75 steps of 225 (chance 0.125; one run, 14,400 patches): a slow start, as in the paper.
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
    steps=400,
)
