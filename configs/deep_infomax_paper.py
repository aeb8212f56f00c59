"""Deep InfoMax at the paper's scale: STL-10's pictures without labels at 64 pixels, local information and a prior.

Paper: Hjelm et al. 2019, arXiv:1808.06670. Kept from the authors' published code: a code of 64 numbers, encode-and-dot critics of
2,048 units, Jensen-Shannon, the judge of the prior (1,000 and 200 units), batches of 64, Adam at a rate of 0.0001; and from
memory of the paper the weights of its local form, 1 for the local information, 0 for the global and 0.1 for the prior.
Different: the network is a ResNet-18, and the 8 x 8 places are of its second block's map (theirs are the convolutions of a
DCGAN's discriminator, and a small AlexNet without strides, with fully connected layers before the code). Crops are of 44 % of a
picture, as 64 of 96 pixels are, and mirrored half of the time. 100 epochs are those of the authors' example for STL-10.
Data: STL-10 in its binary version (stl10_binary/unlabeled_X.bin).
Hardware: one GPU; 10 million pictures of 64 pixels are seen. Not run at this size here.
Command: embodied-ssl pretrain deep_infomax_paper --set data.root=STL10
"""

from embodied_ssl.config import Run
from embodied_ssl.datasets.stl10_unlabelled import STL10Unlabelled
from embodied_ssl.methods.contrastive.deep_infomax import DeepInfoMaxConfig
from embodied_ssl.optim import AdamW, Schedule

run = Run(
    method=DeepInfoMaxConfig(size=64, area=(0.44, 0.45), hidden=2048, local_weight=1.0, global_weight=0.0, prior_weight=0.1),
    data=STL10Unlabelled(),
    optimizer=AdamW(rate=1e-4, weight_decay=0.0),
    schedule=Schedule("constant", warmup=0.0),
    batch_size=64,
    steps=100 * (100_000 // 64),
    checkpoint_every=5000,
    held_out_every=5000,
)
