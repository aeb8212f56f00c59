"""The last K keys, oldest replaced first: negatives without a large batch.

He et al. 2020 (MoCo), arXiv:1911.05722, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodied_ssl.errors import UserError


class KeyQueue(nn.Module):
    """Unit rows [K, D] and the place of the oldest one, in buffers: a run resumes with the same queue.

    At first the rows are random directions, drawn from torch's global generator. A whole batch of keys replaces the oldest
    rows, so that every key stays for the same number of steps; K is therefore a multiple of the batch (`check`).
    """

    rows: Tensor
    oldest: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(length, width), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def check(self, batch: int) -> None:
        """Refuse a batch that does not fit the queue.

        Raises:
            UserError: names lengths that would do.
        """
        if len(self) % batch:
            raise UserError(
                f"a queue of {len(self)} keys does not divide by a batch of {batch}; give a multiple of it, such as "
                f"--set method.queue={max(1, round(len(self) / batch)) * batch}"
            )

    @torch.no_grad()
    def replace_oldest(self, keys: Tensor) -> None:
        """Put unit keys [B, D] of a step, in the order of the data, in the place of the B oldest."""
        where = (self.oldest + torch.arange(len(keys), device=keys.device)) % len(self)
        self.rows.index_copy_(0, where, keys.to(self.rows.dtype))
        self.oldest.copy_((self.oldest + len(keys)) % len(self))
