"""Exemplars by triplets on any folder of photographs, ResNet-18 at 64 pixels, 8 copies of a picture, sized for a laptop.

Paper: Kolesnikov et al. 2019, arXiv:1901.09005 (ResNet-50 at 224 pixels, 64 pictures a step, 35 epochs of ImageNet, on TPUs).
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain exemplar_triplet_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.image.exemplar_triplet import ExemplarTripletConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=ExemplarTripletConfig(size=64),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=16,
    steps=340,
)
