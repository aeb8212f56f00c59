"""SimCLR on any folder of photographs, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Chen et al. 2020, arXiv:2002.05709 (ResNet-50 at 224 pixels, batch 4096, up to 1000 epochs of ImageNet, on TPUs).
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain simclr_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.contrastive.simclr import SimCLRConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=SimCLRConfig(size=64, area=(0.2, 1.0)),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=128,
    steps=500,
)
