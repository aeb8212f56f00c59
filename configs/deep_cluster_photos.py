"""DeepCluster on any folder of photographs, ResNet-18 on edges at 64 pixels, sized for a laptop.

Paper: Caron et al. 2018, arXiv:1807.05520 (AlexNet at 224 pixels, 10,000 clusters of ImageNet, 500 epochs on a GPU).
Data: a folder of photographs; thousands to learn from. Clusters should have some tens of pictures each, and a head some hundred
steps between one clustering and the next: of fewer pictures, more epochs (method.every).
Command: embodied-ssl pretrain deep_cluster_photos --set data.root=PHOTOS
"""

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.clustering.deep_cluster import DeepClusterConfig
from embodied_ssl.optim import AdamW, Schedule

run = Run(
    method=DeepClusterConfig(size=64, area=(0.2, 1.0), clusters=100, components=64, every=3),
    data=PictureFolder(),
    backbone=BackboneConfig(channels=2),
    optimizer=AdamW(rate=1.5e-3),
    schedule=Schedule("constant"),  # each new head has to learn, the last one too
    batch_size=128,
    steps=800,
)
