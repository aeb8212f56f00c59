"""Relative patches at the paper's scale: ImageNet, AlexNet, patches of 96 pixels, 1.7 M steps of 512 patches.

Paper: Doersch, Gupta and Efros 2015, arXiv:1505.05192. Kept from the authors' published code: lengths and areas, colour dropping,
a third of the patches coarse, four grids a picture, nothing mirrored, the 3 x 3 places of the last map kept apart, three layers
of 4,096 after it (the first of one patch, two of both) and a last of 8, BatchNorm without scale and shift in the head; SGD at a
constant rate without momentum or decay, theirs of 1e-5 on the sum over pairs, of which a step has 1,536. Different: AlexNet has
BatchNorm (with scale and shift) in all its convolutions and no response normalisation, grids are of 2 x 2 patches, noise is
the paper's.
Data: ImageNet's training pictures, or any large folder of photographs.
Hardware: one GPU of 16 GB or more with --set precision=bf16; weeks. Not run at this size here.
Command: embodied-ssl pretrain relative_patch_paper --set data.root=IMAGENET/train
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.relative_patch import RelativePatchConfig
from embodied_ssl.optim import SGD, Schedule

run = Run(
    method=RelativePatchConfig(size=96, grids=4, colours="drop", flip=False, hidden=4096, cells=3),
    backbone=BackboneConfig("alexnet"),
    data=PictureFolder(),
    optimizer=SGD(rate=0.015, momentum=0.0, weight_decay=0.0),
    schedule=Schedule("constant", warmup=0.0),
    batch_size=32,
    steps=1_700_000,
    checkpoint_every=5000,
    held_out_every=20_000,
)
