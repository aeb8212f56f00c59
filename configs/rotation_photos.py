"""RotNet on any folder of photographs, ResNet-18 at 96 pixels, sized for a laptop.

Paper: Gidaris et al. 2018, arXiv:1803.07728 (AlexNet at 224 pixels on ImageNet: 50 epochs of 1.28 M pictures, on a GPU).
Data: a folder of photographs; an up must be recognisable. A few hundred are enough to try, thousands to learn.
Command: embodied-ssl pretrain rotation_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=RotationConfig(size=96),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=32,
    steps=600,
)
