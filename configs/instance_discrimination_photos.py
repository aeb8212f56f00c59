"""Instance discrimination on any folder of photographs, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Wu et al. 2018, arXiv:1805.01978 (ResNet-50 at 224 pixels on ImageNet, 200 epochs, on GPUs). The bank has a row for each
photograph, and with some thousands of them a crop is compared with every one: the exact softmax instead of its estimate. The
head has a hidden layer (the paper's is linear): without it all vectors begin alike, and so few epochs hardly part them.
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain instance_discrimination_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.contrastive.instance_discrimination import InstanceDiscriminationConfig
from embodied_ssl.methods.contrastive.memory_contrast import Memory
from embodied_ssl.optim import AdamW

run = Run(
    method=InstanceDiscriminationConfig(size=64, hidden=512, memory=Memory(loss="softmax", negatives=0, temperature=0.1)),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=128,
    steps=1000,
)
