"""SwAV at the paper's scale: ImageNet, ResNet-50, two crops of 224 and six of 96 pixels, 3,000 prototypes, 800 epochs.

Paper: Caron et al. 2020, arXiv:2006.09882. Kept, from the authors' published program: crops and their shares of the picture,
SimCLR's colours at full strength with blur, the head, prototypes frozen for the first epoch, temperature 0.1, Sinkhorn with 0.05
and 3 rounds, no queue at this batch; LARS with a peak rate of 4.8, weight decay 1e-6, 10 epochs of warm-up and a cosine.
Different: the warm-up begins at 0 (theirs at 0.3) and the cosine ends there (theirs at a thousandth); norms and biases are
neither decayed nor adapted (theirs are). BatchNorm is over all ranks there: add --set sync_batch_norm=true. In batches of 256
theirs has a queue, --set batch_size=256 --set method.queue=3840 --set optimizer.rate=0.6, filled from epoch 15 of 200 on
(method.queue_from=0.075).
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: 64 GPUs of 16 GB in the paper; about a billion pictures are seen, eight crops of each. Not run at this size here.
Command: torchrun --nproc-per-node=8 -m embodied_ssl pretrain swav_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.contrastive.swav import SwAVConfig
from embodied_ssl.optim import LARS, Schedule
from embodied_ssl.views.colour import ColourChange

run = Run(
    method=SwAVConfig(
        size=224,
        area=(0.14, 1.0),
        small_size=96,
        small_area=(0.05, 0.14),
        small=6,
        colour=ColourChange(0.8, 0.8, 0.8, 0.2, blur=0.5),
        prototypes=3000,
        freeze=1 / 800,
        hidden=2048,
    ),
    backbone=BackboneConfig("resnet50"),
    data=ImageNetFolder(root=""),
    optimizer=LARS(rate=4.8, weight_decay=1e-6),
    schedule=Schedule("cosine", warmup=10 / 800),
    batch_size=4096,
    steps=800 * (1_281_167 // 4096),
    checkpoint_every=1000,
    held_out_every=3120,
    held_out_examples=2048,
)
