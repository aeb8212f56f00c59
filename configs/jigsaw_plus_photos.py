"""Jigsaw++ on any folder of photographs: one or two of the nine tiles are of another picture. Sized for a laptop.

Paper: Noroozi et al. 2018, arXiv:1805.00385 (VGG-16, 701 permutations that differ in 3 tiles or more, on ImageNet). What follows
there, clustering the features and training a new network to tell the clusters, is not part of this.
Data: a folder of photographs. A few hundred are enough to try, thousands to learn.
Command: embodied-ssl pretrain jigsaw_plus_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.jigsaw import JigsawConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=JigsawConfig(cell=32, tile=28, permutations=24, distance="least", puzzles=4, foreign=(1, 2)),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=128,
    steps=240,
)
