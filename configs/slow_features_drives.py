"""Slow features (DrLIM) from simulated drives: the invariance that ego_motion_drives is held against, all else alike.

Paper: the baseline ``drlim`` of Jayaraman and Grauman 2015, arXiv:1505.02206; rate, batch and steps are ours, as many frames a
step as there. ``--set method.distance=l1 --set method.margin=8`` is their ``temporal`` (8 is, for a difference spread evenly
over 64 dimensions, the Euclidean margin of 1).
Data: as for ego_motion_drives; motions are not looked at.
Command: embodied-ssl pretrain slow_features_drives --set data.root=DRIVES
"""

from dataclasses import replace

from embodied_ssl.configs.ego_motion_drives import run as equivariance
from embodied_ssl.methods.embodied.pairs import AS_THEY_ARE
from embodied_ssl.methods.embodied.slow_features import SlowFeaturesConfig

run = replace(equivariance, method=SlowFeaturesConfig(size=32, cuts=False, area=(1.0, 1.0), colour=AS_THEY_ARE), batch_size=85)
