"""Losses as plain functions: tensors in, one scalar out. Each states a known value, which is a test."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def precise(values: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is: sums of many numbers need the digits."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding each picture's other view among all other views of the batch.

    Chen et al. 2020 (SimCLR), eq. 1, as the mean over all 2N anchors; the authors' program adds the means of both halves,
    which is twice this.

    Args:
        first, second: [N, D]; row i of one is from the same picture as row i of the other. Normalised here.
        temperature: divides the cosine.

    Returns:
        A scalar; log(2N - 1) when all look alike.
    """
    views = F.normalize(precise(torch.cat([first, second])), dim=1)
    similarity = views @ views.T / temperature
    similarity.fill_diagonal_(float("-inf"))  # a view is not its own negative
    n = len(first)
    partner = torch.arange(2 * n, device=views.device).roll(n)
    return F.cross_entropy(similarity, partner)


def queue_contrast(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of picking each query's own key among the negatives.

    He et al. 2020 (MoCo), eq. 1: InfoNCE with negatives that all queries share.

    Args:
        query, key: unit vectors [B, D]; row i of one belongs to row i of the other.
        negatives: unit vectors [K, D] from *earlier* steps: were ``key`` among them, the loss could not fall below log 2.
        temperature: divides the cosine.

    Returns:
        A scalar; log(K + 1) when all look alike, log(1 + K exp(-1 / temperature)) when each query is its key and at right angles
        to all negatives.
    """
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ negatives.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


def pattern_contrast(moved: Tensor, seen: Tensor, pattern: Tensor, margin: float) -> Tensor:
    """Pull the feature moved by the true motion's map to what is seen, push those moved by all other maps away.

    Jayaraman & Grauman 2015, eq. 5, written out for every map: the sum over maps g of |moved_g - seen| where g is the
    pair's pattern, and of max(margin - |moved_g - seen|, 0) where it is not; the mean over pairs.

    Args:
        moved: [B, G, D]; the first feature under each of the G maps.
        seen: [B, D]; the second feature.
        pattern: int64 [B]; the pair's pattern, or -1 for a pair of no pattern, which repels all maps.
        margin: beyond this distance nothing is pushed.

    Returns:
        A scalar; 0 when the true map is exact and the others miss by the margin, (G - 1) * margin when all features collapse.
    """
    distance = torch.linalg.vector_norm(moved.float() - seen.float().unsqueeze(1), dim=2)
    true = F.one_hot(pattern.clamp_min(0), moved.shape[1]).bool() & (pattern >= 0).unsqueeze(1)
    return torch.where(true, distance, (margin - distance).clamp_min(0)).sum(1).mean()


def drlim(first: Tensor, second: Tensor, near: Tensor, margin: float, present: Tensor) -> Tensor:
    """Draw near pairs together and push the others to the margin, by squared Euclidean distance.

    Hadsell, Chopra & LeCun 2006 (DrLIM), eq. 4: half the squared distance D of a near pair, half of max(margin - D, 0) squared
    of another.

    Args:
        first, second: [N, D]; row i of one is paired with row i of the other.
        near: bool [N]; whether the pair belongs together.
        margin: beyond this distance nothing is pushed.
        present: bool [N]; other rows count nothing.

    Returns:
        A scalar, the mean over present pairs; half the squared margin times the share of far pairs when all features collapse.
    """
    distance = torch.linalg.vector_norm(first.float() - second.float(), dim=1)
    each = torch.where(near, distance.square(), (margin - distance).clamp_min(0).square()) / 2
    return mean_where(each, present)


def temporal_coherence(first: Tensor, second: Tensor, near: Tensor, margin: float, present: Tensor) -> Tensor:
    """Draw near pairs together and push the others to the margin, by the sum of absolute differences.

    Mobahi, Collobert & Weston 2009, the coherence loss: the L1 distance of two successive frames, max(margin - distance, 0) of
    two others.

    Args:
        first, second: [N, D]; row i of one is paired with row i of the other.
        near: bool [N]; whether the pair belongs together.
        margin: beyond this distance nothing is pushed; distances sum over D.
        present: bool [N]; other rows count nothing.

    Returns:
        A scalar, the mean over present pairs; the margin times the share of far pairs when all features collapse.
    """
    distance = (first.float() - second.float()).abs().sum(1)
    return mean_where(torch.where(near, distance, (margin - distance).clamp_min(0)), present)


def tried_bin(logits: Tensor, bins: Tensor, success: Tensor, present: Tensor) -> Tensor:
    """Binary cross-entropy of the one angle bin that was tried; the others get exactly zero gradient.

    Pinto & Gupta 2016; Pinto et al. 2016 (The Curious Robot).

    Args:
        logits: [B, K].
        bins: int64 [B], the tried bin.
        success: float [B], 0 or 1.
        present: bool [B]; rows of other interactions count nothing.

    Returns:
        A scalar, the mean over present rows; log 2 for zero logits; 0 when no row is present.
    """
    chosen = logits.float().gather(1, bins.unsqueeze(1)).squeeze(1)
    each = F.binary_cross_entropy_with_logits(chosen, success.float(), reduction="none")
    return mean_where(each, present)


def mean_where(values: Tensor, present: Tensor) -> Tensor:
    """Mean of values [B] over the rows where ``present`` [B] is true; 0, with zero gradient, when there are none."""
    return (values * present).sum() / present.sum().clamp_min(1)
