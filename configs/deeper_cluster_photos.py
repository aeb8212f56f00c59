"""DeeperCluster on any folder of photographs, ResNet-18 on edges at 64 pixels, sized for a laptop.

Paper: Caron et al. 2019, arXiv:1905.01278 (VGG-16 at 224 pixels, 320,000 clusters of 96 million pictures, on 64 GPUs).
Data: a folder of photographs; an up must be recognisable. Thousands to learn from; see deep_cluster_photos.
Command: embodied-ssl pretrain deeper_cluster_photos --set data.root=PHOTOS
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.clustering.deeper_cluster import DeeperClusterConfig
from embodied_ssl.optim import AdamW, Schedule

run = Run(
    method=DeeperClusterConfig(size=64, area=(0.2, 1.0), groups=4, clusters=25),
    data=PictureFolder(),
    backbone=BackboneConfig(channels=2),
    optimizer=AdamW(rate=1.5e-3),
    schedule=Schedule("constant"),  # each new head has to learn, the last one too
    batch_size=128,
    steps=800,
)
