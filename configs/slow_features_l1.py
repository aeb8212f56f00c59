"""Slow features (temporal coherence, L1) from the frames of drives, ResNet-18 at 64 pixels, sized for a laptop.

Paper: Mobahi, Collobert and Weston 2009, on frames as in Jayaraman and Grauman 2015, arXiv:1505.02206. A margin of 8 is, for a
difference spread evenly over 64 dimensions, the Euclidean margin of 1.
Data: a folder of donkeycar tubs; steering and throttle are not looked at.
Time: about 8 minutes of one CPU core.
Command: embodied-ssl pretrain slow_features_l1 --set data.root=TUBS
"""

from dataclasses import replace

from embodied_ssl.configs.slow_features import run as drlim
from embodied_ssl.methods.embodied.slow_features import SlowFeaturesConfig

run = replace(drlim, method=SlowFeaturesConfig(size=64, distance="l1", margin=8.0, cuts=False))
