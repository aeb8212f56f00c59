"""Train SimCLR with the ``lightly`` package, for a study to judge beside ours: same pictures, network, budget and settings.

Its own transform, projection head and loss in the loop that its documentation shows; what its parts leave open is set as in
`embodied_ssl.configs.simclr_photos`. Views are made picture by picture in the loader, by Pillow and torchvision.

Example: python scripts/simclr_with_lightly.py PHOTOS lightly_s0.pth --seed 0 --views 130000
    then, in a study: models={"lightly_simclr": ["lightly_s0.pth@resnet18", ...]}
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms.simclr_transform import SimCLRTransform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18

from embodied_ssl.config import load
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.optim import parameter_groups


class TwoViews(Dataset[list[Tensor]]):
    """The training pictures of a folder, the same ones that `embodied_ssl` trains on, in lightly's two views."""

    def __init__(self, root: str, transform: SimCLRTransform) -> None:
        self.source = PictureFolder(root).open("train")
        self.transform = transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> list[Tensor]:
        with Image.open(self.source[index]["picture"].name) as picture:
            return [torch.as_tensor(view) for view in self.transform(picture.convert("RGB"))]


def train(root: str, views: int, seed: int) -> nn.Module:
    """The network after so many views, on the settings of ``simclr_photos``."""
    run = load("simclr_photos")[0]
    method = run.method
    torch.manual_seed(seed)
    network: nn.Module = resnet18(weights=None)
    network.fc = nn.Identity()
    head = SimCLRProjectionHead(512, method.hidden, method.out)  # type: ignore[attr-defined]
    transform = SimCLRTransform(
        input_size=method.size,  # type: ignore[attr-defined]
        cj_strength=0.5,  # of 0.8, 0.8, 0.8 and 0.2: the factors of our ColourChange
        min_scale=method.area[0],  # type: ignore[attr-defined]
        gaussian_blur=0.0,
    )
    loader = DataLoader(TwoViews(root, transform), run.batch_size, shuffle=True, drop_last=True)
    criterion = NTXentLoss(temperature=method.temperature)  # type: ignore[attr-defined]
    learner = nn.ModuleDict({"backbone": network, "head": head})
    optimizer = run.optimizer.build(parameter_groups(learner, run.optimizer))
    steps, step = -(-views // (2 * run.batch_size)), 0
    while step < steps:
        for first, second in loader:
            for group in optimizer.param_groups:
                group["lr"] = run.optimizer.rate * run.schedule.factor((step + 1) / (steps + 1))
            loss = criterion(head(network(first)), head(network(second)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % 20 == 0 or step == steps:
                print(f"step {step}/{steps} loss {loss.item():.4f}", flush=True)
            if step == steps:
                break
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description="SimCLR with lightly, on the settings of simclr_photos.")
    parser.add_argument("photos", help="folders of pictures, with commas between them")
    parser.add_argument("out", type=Path, help="the file of weights (.pth)")
    parser.add_argument("--views", type=int, default=130_000, help="pictures through the network")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    network = train(given.photos, given.views, given.seed)
    torch.save(network.state_dict(), given.out)


if __name__ == "__main__":
    main()
