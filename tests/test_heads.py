"""The shared head, and how words are suggested."""

from __future__ import annotations

import torch
from torch import nn

from embodied_ssl.errors import BadItem, suggest
from embodied_ssl.heads import mlp


def test_a_head_is_as_wide_as_asked_and_its_last_layer_is_plain() -> None:
    head = mlp(8, 16, 16, 4)
    assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    assert [layer.bias is None for layer in head if isinstance(layer, nn.Linear)] == [True, True, False]
    assert head(torch.randn(3, 8)).shape == (3, 4)


def test_a_head_without_norms_keeps_its_biases() -> None:
    head = mlp(8, 16, 4, norm=False)
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Linear]
    assert all(layer.bias is not None for layer in head if isinstance(layer, nn.Linear))


def test_a_norm_after_the_last_layer_has_no_scale_or_shift_and_makes_the_bias_needless() -> None:
    head = mlp(8, 16, 4, norm_out=True)
    assert [type(layer) for layer in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d]
    assert head[3].bias is None
    assert not list(head[4].parameters())
    out = head(torch.randn(50, 8))
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(out.var(0, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)


def test_a_head_of_one_layer_is_a_linear_map() -> None:
    assert [type(layer) for layer in mlp(8, 4)] == [nn.Linear]


def test_a_near_word_is_suggested_and_otherwise_all_are_listed() -> None:
    assert suggest("step", ["steps", "seed"]) == ", did you mean 'steps'?"
    assert suggest("xyz", ["b", "a"]) == "; there is a, b"
    assert suggest("xyz", []) == ""


def test_a_bad_item_survives_the_way_out_of_a_worker() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(BadItem("a.png", "empty file")))
    assert (again.name, again.reason, str(again)) == ("a.png", "empty file", "a.png: empty file")
