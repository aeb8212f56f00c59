"""RotNet at the paper's scale: ImageNet, AlexNet at 224 pixels, 50 epochs of 192 pictures a step, each in four turns.

Paper: Gidaris et al. 2018, arXiv:1803.07728. Kept from the authors' published code: crops of 8 to 100 % of a picture and mirrors,
before the turn; the last map's places kept apart and two layers of 4,096 with BatchNorm after it; SGD with Nesterov momentum,
decay 0.0005 of everything, a rate of 0.01 that falls to a tenth after 15, 30 and 45 epochs. Different: AlexNet has the filters of
its own paper (96, 256, 384, 384, 256; theirs 64, 192, 384, 256, 256), and its last map has 7 x 7 places (theirs 6 x 6).
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: one GPU of 16 GB or more with --set precision=bf16; 256 million pictures are seen. Not run at this size here.
Command: embodied-ssl pretrain rotation_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.image.rotation import RotationConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=RotationConfig(size=224, area=(0.08, 1.0), hidden=4096, cells=7),
    backbone=BackboneConfig("alexnet"),
    data=ImageNetFolder(root=""),
    optimizer=SGD(rate=0.01, nesterov=True, weight_decay=5e-4),
    schedule=Schedule("step", warmup=0.0, drops=(0.3, 0.6, 0.9)),
    batch_size=192,
    steps=50 * (1_281_167 // 192),
    checkpoint_every=2000,
    held_out_every=6672,
    held_out_examples=2048,
)
