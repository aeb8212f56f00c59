"""MoCo v3 at the paper's scale: ImageNet, ViT-S/16 at 224 pixels, batch 1024, 300 epochs.

Paper: Chen et al. 2021, arXiv:2104.02057; the authors' setting for one machine of 8 GPUs. Kept: crops of 0.08 of the picture or
more, colours changed in 8 of 10 (0.4, 0.4, 0.2, hue 0.1), a fifth grey, all first and a tenth of the second views blurred; a
projection of 3 layers and a predictor of 2, 4096 wide, to 256; temperature 0.2; momentum from 0.99 to 1; the projection of
patches stays random; AdamW at 1.5e-4 for every 256 pictures, weight decay 0.1, 40 epochs of warm-up, then cosine. Different: none
are solarised (theirs: a fifth of the second views); positions are learned (theirs: sines that stay as they are), 6 heads (theirs
12); norms and biases do not decay; on several GPUs --set sync_batch_norm=true is theirs.
Data: ImageNet (ILSVRC2012), or any large folder of photographs with --as PictureFolder.
Hardware: GPUs with 256 GB in all, or --set accumulate=8 on one of 32, and --set precision=bf16; 384 million pictures are seen.
Theirs reach 73.2 % (linear, top-1) with batch 4096. Not run at this size here.
Command: embodied-ssl pretrain moco_v3_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.contrastive.moco_v3 import MoCoV3Config
from embodied_ssl.optim import AdamW, Schedule
from embodied_ssl.views.colour import ColourChange

run = Run(
    method=MoCoV3Config(
        size=224,
        area=(0.08, 1.0),
        colour=ColourChange(0.4, 0.4, 0.2, 0.1, change=0.8, grey=0.2, blur=1.0),
        other_colour=ColourChange(0.4, 0.4, 0.2, 0.1, change=0.8, grey=0.2, blur=0.1),
        momentum=0.99,
        temperature=0.2,
        layers=3,
        hidden=4096,
        out=256,
        norm_out=True,
    ),
    data=ImageNetFolder(root=""),
    backbone=BackboneConfig("vit_small"),
    optimizer=AdamW(rate=6e-4, weight_decay=0.1),
    schedule=Schedule("cosine", warmup=40 / 300),
    batch_size=1024,
    steps=300 * 1251,
    checkpoint_every=1251,
    held_out_every=1251,
)
