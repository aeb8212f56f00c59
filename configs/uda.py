"""Supervised: unsupervised data augmentation with a few labels (6 of each class), ResNet-18 at 64 pixels, sized for a laptop.

Paper: Xie et al. 2020, arXiv:1904.12848 (UDA): CE of the labelled pictures, of which those that are known already are left out by
a rising threshold, plus the disagreement over all pictures disturbed. Temperature, confidence and weight are theirs for small
pictures; they train a WRN-28-2 by SGD for 400,000 steps and disturb by RandAugment, and we colours and blur alone. The term is
taken of the labelled pictures too.
Data: a folder of labelled pictures (train/CLASS, test/CLASS) of which ``data.shots`` of each class are drawn, by ``data.draw``,
from the train part; the rest of it comes without labels. Held-out figures are the network's own accuracy on the test part.
Command: embodied-ssl pretrain uda --set data.root=SCENES --set method.task.classes=15
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.partly_labelled import PartlyLabelled
from embodied_ssl.methods.consistent import ConsistentConfig
from embodied_ssl.methods.image.classification import ClassificationConfig
from embodied_ssl.optim import AdamW

run = Run(
    method=ConsistentConfig(ClassificationConfig(size=64, annealing="linear"), weight=1.0, temperature=0.4, threshold=0.8),
    data=PartlyLabelled(shots=6, share=0.25),
    optimizer=AdamW(rate=1e-3),
    batch_size=64,
    steps=600,
)
