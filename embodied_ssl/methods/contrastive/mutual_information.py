"""How much two things tell of each other, bounded from below by a critic that scores pairs of them.

A critic sees pairs that belong together and pairs that do not, and gives each a number, higher where it takes them for a pair.
The better that can be done at all, the more one of the two tells of the other. All functions take scores and know nothing of
the critic; what they give is in nats, and is to be made great (but for `info_nce`, which is a loss).

`info_nce` and `information`: van den Oord, Li and Vinyals 2018, arXiv:1807.03748, section 2.3. `donsker_varadhan`: Belghazi et
al. 2018, arXiv:1801.04062, eq. 10. `jensen_shannon`: Nowozin, Cseke and Tomioka 2016, arXiv:1606.00709, as Hjelm et al. 2019,
arXiv:1808.06670, eq. 4 use it.

Legend: ... is any number of leading axes, P pairs that belong together, K pairs that do not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from embodied_ssl.losses import precise

FULL = 0.98  # share of its ceiling at which a bound is called saturated: it then says little about the information itself


def info_nce(positive: Tensor, negative: Tensor) -> Tensor:
    """Cross-entropy of finding each true pair among itself and K false ones.

    Args:
        positive: scores of true pairs [..., P].
        negative: scores of the false pairs that each of these P is held against [..., K]; -inf is no pair.

    Returns:
        Of each true pair, [..., P]; log(K + 1) when all scores are alike, 0 when it stands out.
    """
    against = precise(negative).logsumexp(-1, keepdim=True)
    return torch.logaddexp(precise(positive), against) - precise(positive)


def information(loss: Tensor, among: int | Tensor) -> Tensor:
    """The bound log N - L on the mutual information, where L is the `info_nce` of finding one true pair among N.

    It holds where the false ones are drawn independently of what they are held against and of each other, and never exceeds
    log N: however much more there is to know, it cannot be seen among so few. Below 0, a critic does worse than guessing.
    """
    return torch.as_tensor(among, dtype=loss.dtype, device=loss.device).log() - loss


def jensen_shannon(positive: Tensor, negative: Tensor) -> Tensor:
    """The mean of -softplus(-T) over true pairs less the mean of softplus(T) over false ones, T the critic's scores.

    Its greatest value, over all critics, is twice the Jensen-Shannon divergence of true and false pairs less 2 log 2. That is no
    mutual information, but grows with it, and its gradients are gentler. Its sign is the paper's: it is made great.

    Args:
        positive, negative: scores of any shapes.

    Returns:
        A scalar; -2 log 2 when all scores are 0, and 0 at most.
    """
    return -F.softplus(-precise(positive)).mean() - F.softplus(precise(negative)).mean()


def donsker_varadhan(positive: Tensor, negative: Tensor) -> Tensor:
    """The mean score of true pairs less the log of the mean exponential score of false ones.

    Over all critics at most the mutual information, which the log of the ratio of densities reaches. Taken of a batch it scatters
    widely where that is great.

    Args:
        positive, negative: scores of any shapes.

    Returns:
        A scalar; 0 when all scores are alike.
    """
    false = precise(negative).flatten()
    return precise(positive).mean() - (false.logsumexp(0) - math.log(len(false)))


def found(positive: Tensor, negative: Tensor) -> Tensor:
    """Whether each true pair scores highest among itself and K false ones: float [...], its expectation where scores are equal.

    Args:
        positive: [...].
        negative: [..., K].

    Returns:
        1 / (K + 1) when all scores are alike.
    """
    own = positive.unsqueeze(-1)
    return (negative <= own).all(-1) / (1 + (negative == own).sum(-1))


def saturated(bound: float, ceiling: float, remedy: str) -> str:
    """What to say of a bound that stands at its ceiling; "" while it does not.

    Args:
        bound, ceiling: in nats.
        remedy: what gives more pairs to choose among.
    """
    if ceiling <= 0 or bound < FULL * ceiling:
        return ""
    return (
        f"the bound on mutual information is {bound:.2f} of at most {ceiling:.2f} nats, the log of how many are chosen among: "
        f"nearly all are found, and what more there is to learn cannot be seen; {remedy}"
    )
