"""Ranks: the one file that knows that there may be several processes. Started by torchrun; alone, everything is the identity.

Gradients are averaged by one flattened all-reduce when a step's backward passes are done, rather than by
DistributedDataParallel: methods with several phases, cached gradients and accumulation then all take the same path (under
plain DDP, alternating phases raise), and it communicates once a step however many micro-batches there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from embodied_ssl.core import Learner
from embodied_ssl.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process among its peers."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def gather(self, tensor: Tensor) -> Tensor:
        """Rows [n, ...] of every rank, one rank after another: [world * n, ...]. No gradient flows."""
        if self.world == 1:
            return tensor.detach()
        parts = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(parts, tensor.detach().contiguous())
        return torch.cat(parts)

    def gather_objects(self, value: Any) -> list[Any]:
        """A small picklable value of every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace floating tensors by their mean over ranks, in one exchange for each dtype."""
        if self.world == 1:
            return
        for dtype in sorted({t.dtype for t in tensors}, key=str):
            group = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.reshape(-1) for t in group])
            dist.all_reduce(flat)
            flat /= self.world
            for tensor, mean in zip(group, flat.split([t.numel() for t in group]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on some rank."""
        if self.world == 1:
            return flag
        tensor = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return bool(tensor.item())


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether forward passes run in bf16: as asked, or for ``auto`` where the hardware has it."""
    if precision == "auto":
        return torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return precision == "bf16"


def choose_device(given: str) -> torch.device:
    """``cpu``, ``cuda`` or ``auto`` to a device.

    Raises:
        UserError: another word, or no GPU where one was asked for.
    """
    if given not in ("cpu", "cuda", "auto"):
        raise UserError(f"no device '{given}'; give cpu, cuda or auto")
    if given == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch sees no GPU here; use --device cpu, or run embodied-ssl doctor")
    if given == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


@contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """Join the process group that torchrun's environment describes, and leave it at the end; alone when there is none.

    A group that the caller has already joined is used and left as it is.
    """
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield Ranks(0, 1, chosen)
        return
    joined_before = dist.is_initialized()
    if not joined_before:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), world, chosen)
    finally:
        if not joined_before:
            dist.destroy_process_group()


def prepare(learner: Learner, here: Ranks, sync_batch_norm: bool, shard: bool) -> Learner:
    """Sharding and synchronised BatchNorm, where asked for.

    Raises:
        UserError: synchronised BatchNorm without a GPU.
    """
    if sync_batch_norm and here.world > 1:
        if here.device.type != "cuda":
            raise UserError("sync_batch_norm needs GPUs; on the CPU leave it false (statistics are then averaged every step)")
        learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
    if shard and here.world > 1:
        from torch.distributed.fsdp import fully_shard

        fully_shard(learner)
    return learner


@contextmanager
def gathered(learner: nn.Module) -> Iterator[None]:
    """A sharded learner's parameters in full, for calling its parts directly; nothing for any other learner."""
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(learner, FSDPModule):
        yield
        return
    learner.unshard()
    try:
        yield
    finally:
        learner.reshard()


def average_gradients(learner: nn.Module, here: Ranks, sharded: bool) -> None:
    """Mean of every gradient over ranks; sharded learners have done it in their backward pass."""
    if sharded or here.world == 1:
        return
    parameters = [p for p in learner.parameters() if p.requires_grad]
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=here.device)
    dist.all_reduce(has, op=dist.ReduceOp.MAX)  # a rank whose batch did not touch a parameter joins in with zero
    for parameter, somewhere in zip(parameters, has.tolist(), strict=True):
        if somewhere and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    here.average([p.grad for p in parameters if p.grad is not None])


def average_batch_norms(learner: nn.Module, here: Ranks) -> None:
    """Mean of BatchNorm's running statistics over ranks, so that every rank would evaluate and save the same."""
    if here.world == 1:
        return
    here.average([buffer for name, buffer in learner.named_buffers() if name.endswith(("running_mean", "running_var"))])


def full_state(learner: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whole state of learner and optimiser; gathered, and the optimiser's by parameter name, where it is sharded."""
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(learner, FSDPModule):
        return learner.state_dict(), optimizer.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    model, optim = get_state_dict(learner, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return dict(model), dict(optim)


def load_full_state(learner: nn.Module, optimizer: torch.optim.Optimizer, model: dict[str, Any], optim: dict[str, Any]) -> None:
    """The inverse of `full_state`; every rank gives the whole state and keeps its own part."""
    by_name = any(isinstance(key, str) for key in optim.get("state", {}))
    if not by_name:
        learner.load_state_dict(model)
        optimizer.load_state_dict(optim)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    set_state_dict(
        learner,
        optimizer,
        model_state_dict=model,
        optim_state_dict=optim,
        options=StateDictOptions(full_state_dict=True, strict=True),
    )
