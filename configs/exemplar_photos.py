"""Exemplar-CNN on any folder of photographs, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Dosovitskiy et al. 2014, arXiv:1406.6909 (a net of four layers, patches of 32 pixels, up to 32,000 classes, on a GPU).
Data: a folder of photographs with gradients in them, of at least 100 pixels a side.
Command: embodied-ssl pretrain exemplar_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.exemplar import ExemplarConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=ExemplarConfig(size=64, classes=300),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=64,
    steps=340,
)
