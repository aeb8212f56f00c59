"""placeholder until merged."""

from __future__ import annotations

from embodied_ssl.backbones import Backbone
from embodied_ssl.evaluation.protocol import Job


def train_supervised(job: Job, examples: int) -> Backbone:
    raise NotImplementedError
