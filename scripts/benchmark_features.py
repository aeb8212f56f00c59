"""How much feature extraction costs beside the bare forward pass: from squares in memory, and from JPEG files.

The three are timed in turn on the same few hundred pictures, round after round; a ratio is the median over rounds of what was
measured side by side, so that a machine that is slower for a while is slower for all three.
Command: python scripts/benchmark_features.py SCENES [--pictures 512] [--rounds 20]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.datasets.target import Part
from embodied_ssl.distributed import choose_device, use_bf16
from embodied_ssl.evaluation.features import extract, frozen
from embodied_ssl.evaluation.pictures import Preprocessing, read_pictures
from embodied_ssl.evaluation.targets import open_target
from embodied_ssl.process import be_a_good_host

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes")
    parser.add_argument("--pictures", type=int, default=512, help="of each round; rounded down to whole batches of 64")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--backbone", default="resnet18")
    given = parser.parse_args()
    be_a_good_host()  # as the command line does
    source = open_target(given.scenes).source
    count = max(1, min(given.pictures, len(source)) // BATCH) * BATCH
    part = Part(source, np.linspace(0, len(source) - 1, count).astype(np.intp))
    device = choose_device("auto")
    net, how = BackboneConfig(given.backbone).build().to(device), Preprocessing()
    squares = read_pictures(part, how)
    ready = torch.rand((BATCH, 3, how.size, how.size), device=device).contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with frozen(net), torch.autocast(device.type, torch.bfloat16, enabled=use_bf16("auto", device)):
            for _ in range(count // BATCH):
                net(ready)
        if device.type == "cuda":
            torch.cuda.synchronize()

    works: dict[str, Callable[[], object]] = {
        "bare forward pass": bare,
        "from squares": lambda: extract(net, how, squares, device, BATCH, precision="auto"),
        "from files": lambda: extract(net, how, part, device, BATCH, precision="auto"),
    }
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(given.rounds + 1)][1:]
    for name in works:
        ratio = statistics.median(times[name] / times["bare forward pass"] for times in rounds)
        print(f"{name:20} {1000 * statistics.median(times[name] for times in rounds) / count:.2f} ms a picture, {ratio:.2f} x")


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
