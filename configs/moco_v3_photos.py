"""MoCo v3 on any folder of photographs, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Chen et al. 2021, arXiv:2104.02057 (ResNet-50 or a vision transformer at 224 pixels, batch 4096, up to 1000 epochs of
ImageNet). The momentum rises from 0.99 to 1 as there.
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain moco_v3_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.contrastive.moco_v3 import MoCoV3Config
from embodied_ssl.optim import AdamW

run = Run(
    method=MoCoV3Config(size=64, momentum=0.99),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=96,
    steps=500,
)
