"""Sub-batches: statistics of a query's group and of its key's group, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.errors import UserError
from embodied_ssl.methods.contrastive.sub_batches import check_groups, has_batch_norm, in_groups, in_other_groups

B, GROUPS = 32, 4


def stamp(rows: Tensor) -> Tensor:
    """What BatchNorm adds to each row of a pass: the pass's mean."""
    return rows.mean(0, keepdim=True).expand_as(rows)


def test_rows_come_back_in_their_own_order() -> None:
    rows = torch.arange(B).float().unsqueeze(1)
    assert torch.equal(in_groups(lambda part: part * 2, rows, GROUPS), rows * 2)
    assert torch.equal(in_other_groups(lambda part: part * 2, rows, GROUPS), rows * 2)


def test_a_pass_is_for_one_group_alone() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(3, affine=False)
    rows = torch.randn(B, 3)
    each = [norm(part) for part in rows.split(B // GROUPS)]
    torch.testing.assert_close(in_groups(norm, rows, GROUPS), torch.cat(each))
    apart = in_other_groups(norm, rows, GROUPS)
    for first in range(GROUPS):
        torch.testing.assert_close(apart[first::GROUPS], norm(rows[first::GROUPS]))


def test_no_two_groups_of_queries_and_keys_share_more_than_they_must() -> None:
    rows = torch.arange(B).float().unsqueeze(1)
    query_group = in_groups(lambda part: part.min().expand_as(part), rows, GROUPS).flatten().tolist()
    key_group = in_other_groups(lambda part: part.min().expand_as(part), rows, GROUPS).flatten().tolist()
    shared = [
        sum(query_group[j] == query_group[i] and key_group[j] == key_group[i] for j in range(B)) for i in range(B)
    ]  # pictures that are with picture i in both
    assert shared == [B // GROUPS**2] * B


def test_the_leak_of_batch_statistics_is_closed() -> None:
    """A query's stamp tells which batch it is from. In common groups its key bears the same one; here they hardly correlate."""
    torch.manual_seed(0)
    pictures = torch.randn(20_000, B, 1)  # both views of a picture taken to be alike, which is the worst case
    batches = pictures.transpose(0, 1)  # every batch is a column of its own
    query, key = in_groups(stamp, batches, GROUPS)[:, :, 0], in_other_groups(stamp, batches, GROUPS)[:, :, 0]
    whole_query, whole_key = in_groups(stamp, batches, 1)[:, :, 0], in_other_groups(stamp, batches, 1)[:, :, 0]

    def correlation(one: Tensor, other: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([one[5], other[5]]))[0, 1])

    assert correlation(whole_query, whole_key) == pytest.approx(1, abs=1e-6)
    assert correlation(query, in_groups(stamp, batches, GROUPS)[:, :, 0]) == pytest.approx(1, abs=1e-6)
    assert correlation(query, key) == pytest.approx(1 / GROUPS, abs=0.03)


def test_a_network_knows_whether_it_has_batch_norm() -> None:
    assert has_batch_norm(nn.Linear(2, 2), BackboneConfig("conv4").build())
    assert not has_batch_norm(BackboneConfig("convnet_quick").build())


@pytest.mark.parametrize(("together", "groups"), [(7, 1), (8, 4), (64, 8)])
def test_groups_of_two_or_more_are_taken(together: int, groups: int) -> None:
    check_groups(together, groups)


@pytest.mark.parametrize(("together", "groups", "least"), [(1, 1, 2), (4, 4, 8), (10, 4, 8)])
def test_a_lone_picture_under_batch_norm_is_refused(together: int, groups: int, least: int) -> None:
    with pytest.raises(UserError, match=rf"{together} pictures? of the batch.*multiple of {groups}, at least {least}"):
        check_groups(together, groups)
