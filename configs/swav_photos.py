"""SwAV on any folder of photographs, ResNet-18 at 64 and 32 pixels, sized for a laptop.

Paper: Caron et al. 2020, arXiv:2006.09882 (ResNet-50, 3,000 prototypes, 800 epochs of ImageNet in batches of 4,096). Here 128
prototypes for thousands of pictures, a queue in place of a large batch, and a norm after the head: after 70 steps of 64 pictures
at 32 and 16 pixels the loss was 4.79 with it, and at 50 steps still at its start of 4.85 = log 128 without.
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain swav_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.contrastive.swav import SwAVConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=SwAVConfig(size=64, small_size=32, small=4, prototypes=128, queue=512, norm_out=True),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=64,
    steps=600,
)
