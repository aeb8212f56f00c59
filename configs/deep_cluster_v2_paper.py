"""DeepCluster-v2 at the paper's scale: ImageNet, ResNet-50, crops of 224 and 96 pixels, 3 x 3,000 clusters, 800 epochs.

Paper: Caron et al. 2020, arXiv:2006.09882, appendix. Kept, from the authors' published program: crops and their shares of the
picture, SimCLR's colours at full strength with blur, the head, 10 rounds of spherical k-means before each epoch, prototypes that
are the clusters' centres, temperature 0.1; LARS with a peak rate of 4.8, weight decay 1e-6, 10 epochs of warm-up and a cosine.
Different: the warm-up begins at 0 and the cosine ends there; norms and biases are neither decayed nor adapted. BatchNorm is over
all ranks there: add --set sync_batch_norm=true.
Data: ImageNet in its published layout; the answers held out are about its validation pictures. Labels are not read.
Hardware: 64 GPUs of 16 GB in the paper; about a billion pictures are seen, eight crops of each. Not run at this size here.
Command: torchrun --nproc-per-node=8 -m embodied_ssl pretrain deep_cluster_v2_paper --set data.root=IMAGENET
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.imagenet import ImageNetFolder
from embodied_ssl.methods.clustering.deep_cluster_v2 import DeepClusterV2Config
from embodied_ssl.optim import LARS, Schedule
from embodied_ssl.views.colour import ColourChange

run = Run(
    method=DeepClusterV2Config(
        size=224,
        area=(0.14, 1.0),
        small_size=96,
        small_area=(0.05, 0.14),
        small=6,
        colour=ColourChange(0.8, 0.8, 0.8, 0.2, blur=0.5),
        prototypes=3000,
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
