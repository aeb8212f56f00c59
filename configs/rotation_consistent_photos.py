"""RotNet whose answers are to stay the same when colours change: ResNet-18 at 96 pixels, sized for a laptop.

Papers: Gidaris et al. 2018, arXiv:1803.07728, with the consistency term of Xie et al. 2020, arXiv:1904.12848 (their confidence
threshold and temperature for small pictures are 0.8 and 0.4). Half as many pictures a step as in rotation_photos: each is seen
in eight copies, four turns as they are and four disturbed.
Data: a folder of photographs; an up must be recognisable. A few hundred are enough to try, thousands to learn.
Command: embodied-ssl pretrain rotation_consistent_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.consistent import ConsistentConfig
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=ConsistentConfig(RotationConfig(size=96), weight=1.0, temperature=0.4),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=16,
    steps=600,
)
