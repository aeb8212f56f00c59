"""Contrastive predictive coding at the paper's scale: ImageNet, 7 x 7 patches of 64 pixels, batches of 32 x 16 pictures.

Paper: van den Oord et al. 2018, arXiv:1807.03748, section 3.2. Kept: crops of 256 pixels of pictures 300 wide, mirrored half of
the time and grey, patches 32 apart of which 60 x 60 pixels are kept, rows up to 5 below, patches sought among those of 16
pictures (as many as one of the authors' 32 GPUs had), Adam at a rate of 0.0002. Different: the network, a ResNet-50 with
BatchNorm and its last block (theirs is a pre-activation ResNet-101 without BatchNorm, up to its third block); scores of rank 256,
where theirs have all ranks; rows from the second below on. The paper says neither how the rate changes (here not at all) nor how
long it trains; 200 epochs are ours.
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: several GPUs, 512 pictures of 49 patches a step; or --set accumulate. Not run at this size here.
Command: embodied-ssl pretrain cpc_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.contrastive.cpc import CPCConfig
from embodied_ssl.optim import AdamW, Schedule
from embodied_ssl.views.colour import ColourChange

run = Run(
    method=CPCConfig(
        patch=64,
        stride=32,
        grid=7,
        share=(256 / 300, 256 / 300),
        jitter=4,
        grey=1.0,
        colour=ColourChange(change=0.0, grey=0.0),
        below=(2, 5),
        blocks=5,
        out=256,
        group=16,
    ),
    data=ImageNetFolder(root=""),
    backbone=BackboneConfig("resnet50"),
    optimizer=AdamW(rate=2e-4, weight_decay=0.0),
    schedule=Schedule("constant", warmup=0.0),
    batch_size=512,
    steps=200 * (1_281_167 // 512),
    checkpoint_every=2000,
    held_out_every=5000,
    held_out_examples=2048,
)
