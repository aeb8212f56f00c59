"""MoCo v2 at the paper's scale: ImageNet, ResNet-50 at 224 pixels, a queue of 65,536 keys, 200 epochs.

Paper: Chen et al. 2020, arXiv:2003.04297. Kept, from the authors' program: crops of 0.2 of the picture or more, colours changed
in 8 of 10 (0.4, 0.4, 0.4, hue 0.1), a fifth grey, half blurred by 0.1 to 2 pixels; a head of 2048 hidden units to 128,
temperature 0.2; momentum 0.999; batch 256, SGD at 0.03 with momentum 0.9 and weight decay 1e-4 on everything, cosine without
warm-up. Different: the 8 groups that BatchNorm sees, of 32 pictures, are within a rank (theirs: one on each of 8 GPUs). On 8 GPUs
a rank has 32 pictures, of which 8 groups are small ones: --set method.groups=2 makes two of 16.
Data: ImageNet (ILSVRC2012), or any large folder of photographs with --as PictureFolder.
Hardware: one GPU of 32 GB or more with --set precision=bf16; 256 million pictures are seen. Theirs reach 67.5 % (linear, top-1).
Not run at this size here.
Command: embodied-ssl pretrain moco_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.contrastive.moco import MoCoConfig
from embodied_ssl.optim import SGD, Schedule
from embodied_ssl.views.colour import ColourChange

run = Run(
    method=MoCoConfig(
        size=224,
        colour=ColourChange(0.4, 0.4, 0.4, 0.1, change=0.8, grey=0.2, blur=0.5),
        queue=65_536,
        momentum=0.999,
        temperature=0.2,
        groups=8,
        hidden=2048,
    ),
    data=ImageNetFolder(root=""),
    backbone=BackboneConfig("resnet50"),
    optimizer=SGD(rate=0.03, weight_decay=1e-4),
    schedule=Schedule("cosine", warmup=0.0),
    batch_size=256,
    steps=200 * 5004,
    checkpoint_every=5004,
    held_out_every=5004,
)
