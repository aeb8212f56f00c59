"""An online figure while training: nearest neighbours on a labelled folder, from the backbone as it stands."""

from __future__ import annotations

import torch

from embodied_ssl.backbones import Backbone
from embodied_ssl.evaluation.features import extract
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.evaluation.protocols.knn import Knn
from embodied_ssl.evaluation.targets import open_target


def online_knn(backbone: Backbone, root: str, device: torch.device) -> float:
    """Accuracy of kNN on the last layer (k 20, T 0.07) on the folder's test part; weights, BatchNorm and generators stay."""
    target = open_target(root)
    how = Preprocessing.usual(96, 112, backbone.channels)
    train, test = (extract(backbone, how, part, device) for part in (target.train, target.test))
    knn, layer = Knn(), train.last
    return float((knn.predict(train.features[layer], train.labels, test.features[layer]) == test.labels).mean())
