"""MoCo v1 at the paper's scale: ImageNet, ResNet-50 at 224 pixels, a queue of 65,536 keys, 200 epochs.

Paper: He et al. 2020, arXiv:1911.05722. Kept, from the authors' program: crops of 0.2 of the picture or more, colours always
changed (0.4 each), a fifth grey, nothing blurred; a linear head to 128, temperature 0.07; momentum 0.999; batch 256, SGD at 0.03
with momentum 0.9 and weight decay 1e-4 on everything, a tenth of the rate after epochs 120 and 160. Different: as `moco_paper`.
Data: ImageNet (ILSVRC2012), or any large folder of photographs with --as PictureFolder.
Hardware: one GPU of 32 GB or more with --set precision=bf16; 256 million pictures are seen. Theirs reach 60.6 % (linear, top-1).
Not run at this size here.
Command: embodied-ssl pretrain moco_v1_paper --set data.root=IMAGENET
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
        colour=ColourChange(0.4, 0.4, 0.4, 0.4, change=1.0, grey=0.2),
        queue=65_536,
        momentum=0.999,
        temperature=0.07,
        groups=8,
        hidden=0,
    ),
    data=ImageNetFolder(root=""),
    backbone=BackboneConfig("resnet50"),
    optimizer=SGD(rate=0.03, weight_decay=1e-4),
    schedule=Schedule("step", warmup=0.0, drops=(0.6, 0.8)),
    batch_size=256,
    steps=200 * 5004,
    checkpoint_every=5004,
    held_out_every=5004,
)
