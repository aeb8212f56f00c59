"""PIRL with turned pictures on any folder of photographs, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Misra and van der Maaten 2020, arXiv:1912.01991, in its form with rotations. All but the transformation is as in
pirl_photos; twice as many pictures fit a step.
Data: a folder of photographs; thousands to learn from.
Command: embodied-ssl pretrain pirl_rotation_photos --set data.root=PHOTOS
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.methods.contrastive.memory_contrast import Memory
from embodied_ssl.methods.contrastive.pirl import PIRLConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=PIRLConfig("rotation", size=64, hidden=512, memory=Memory(loss="softmax", negatives=0, temperature=0.1)),
    data=PictureFolder(),
    optimizer=AdamW(rate=1.5e-3),
    batch_size=96,
    steps=700,
)
