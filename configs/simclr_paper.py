"""SimCLR at the paper's scale: ImageNet, ResNet-50 at 224 pixels, batches of 4,096, 100 epochs with LARS.

Paper: Chen et al. 2020, arXiv:2002.05709. Kept from the authors' published program: crops of 8 to 100 % of a picture; colours
changed in 4 of 5, a fifth grey, half blurred (sigma 0.1 to 2); a head of two layers of 2,048 to 128 numbers with a norm after
each, temperature 0.1; LARS at 0.3 for 256 pictures, decay 0.000001 spared on norms and biases, 10 epochs of warm-up, then a
cosine; BatchNorm over all ranks. Different: see `simclr` for the views and the loss; the blur reaches 11 pixels either way.
Version 2 (arXiv:2006.10029) has a third layer and decays by 0.0001: --set method.layers=3 --set optimizer.weight_decay=1e-4.
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: 8 GPUs of 80 GB with torchrun and --set precision=bf16, or fewer with --set accumulate=8: gradients are those of the
whole batch either way, for a second forward pass (BatchNorm then sees an eighth). 256 million views are seen. Not run at this
size here.
Command: torchrun --nproc-per-node 8 -m embodied_ssl pretrain simclr_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.contrastive.simclr import SimCLRConfig
from embodied_ssl.optim import LARS, Schedule
from embodied_ssl.views.colour import ColourChange

EPOCH = 1_281_167 // 4096  # steps

run = Run(
    method=SimCLRConfig(
        size=224,
        colour=ColourChange(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5),
        temperature=0.1,
        hidden=2048,
        norm_out=True,
    ),
    backbone=BackboneConfig("resnet50"),
    data=ImageNetFolder(root=""),
    optimizer=LARS(rate=0.3 * 4096 / 256, weight_decay=1e-6),
    schedule=Schedule(warmup=0.1),
    batch_size=4096,
    steps=100 * EPOCH,
    sync_batch_norm=True,
    checkpoint_every=EPOCH,
    held_out_every=EPOCH,
    held_out_examples=2048,
)
