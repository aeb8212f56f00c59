"""Jigsaw puzzles on any folder of photographs, ResNet-18 on 9 tiles of a 96-pixel crop, sized for a laptop.

Paper: Noroozi and Favaro 2016, arXiv:1603.09246 (AlexNet on tiles of 64 pixels of ImageNet, on a GPU).
Data: a folder of photographs. A few hundred are enough to try, thousands to learn.
Command: embodied-ssl pretrain jigsaw_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.jigsaw import JigsawConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=JigsawConfig(cell=32, tile=28, permutations=24, puzzles=4),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=128,
    steps=240,
)
