"""PIRL with puzzles on any folder of photographs, ResNet-18 on a 64-pixel crop and 9 tiles of 28, sized for a laptop.

Paper: Misra and van der Maaten 2020, arXiv:1912.01991 (ResNet-50 at 224 pixels on ImageNet, 800 epochs, on 32 GPUs). The bank
has a row for each photograph, and with some thousands of them each is compared with every one. A crop and its 9 tiles are as
many pixels as 2.7 crops. Heads have a hidden layer, as in the authors' later program.
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain pirl_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.contrastive.memory_contrast import Memory
from embodied_ssl.methods.contrastive.pirl import PIRLConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=PIRLConfig(size=64, hidden=512, memory=Memory(loss="softmax", negatives=0, temperature=0.1)),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=64,
    steps=700,
)
