"""Attention and the block of a transformer against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dgm.models.attention import Attention, Block, attention, position_waves

TOLERANCE = {"rtol": 0, "atol": 1e-12}


def _double(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _copy(ours, theirs):
    """The weights of our attention to torch's, whose projection of inputs has biases as well."""
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)


@pytest.mark.parametrize("kind", ["all", "causal", "random"])
def test_attention_against_torch(kind):
    q, k, v = _double(2, 3, 5, 4, seed=1), _double(2, 3, 7, 4, seed=2), _double(2, 3, 7, 6, seed=3)
    mask = torch.ones(5, 7, dtype=torch.bool)
    if kind == "causal":
        mask = mask.tril(2)
    if kind == "random":
        mask = _double(5, 7) > 0
        mask[:, 0] = True
    y, weights = attention(q, k, v, mask)
    torch.testing.assert_close(y, nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask), **TOLERANCE)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), **TOLERANCE)
    assert not weights[..., ~mask].any()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_multi_head_attention_against_torch(num_heads, causal):
    ours = Attention(8, num_heads, causal=causal).double()
    theirs = nn.MultiheadAttention(8, num_heads, batch_first=True, dtype=torch.float64)
    _copy(ours, theirs)
    h = _double(3, 6, 8)
    forbidden = torch.ones(6, 6, dtype=torch.bool).triu(1) if causal else None
    expected, weights = theirs(h, h, h, attn_mask=forbidden, average_attn_weights=False)
    y, (k, v) = ours(h)
    torch.testing.assert_close(y, expected, **TOLERANCE)
    torch.testing.assert_close(ours.weights, weights, **TOLERANCE)
    assert k.shape == v.shape == (3, num_heads, 6, 8 // num_heads)


@pytest.mark.parametrize("causal", [True, False])
def test_block_against_torch(causal):
    ours = Block(8, 2, causal=causal).double()
    theirs = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    _copy(ours.attention, theirs.self_attn)
    pairs = {"norm1": ours.norm1, "norm2": ours.norm2, "linear1": ours.mlp[0], "linear2": ours.mlp[2]}
    for name, part in pairs.items():
        nn.init.normal_(part.bias)  # norms start without
        getattr(theirs, name).load_state_dict(part.state_dict())
    h = _double(3, 6, 8)
    forbidden = torch.ones(6, 6, dtype=torch.bool).triu(1) if causal else None
    torch.testing.assert_close(ours(h)[0], theirs(h, src_mask=forbidden), **TOLERANCE)


@pytest.mark.parametrize("cuts", [(1,), (3, 4), (1, 2, 3, 4, 5)])
def test_keys_and_values_of_the_past_stand_for_the_past(cuts):
    block, h = Block(8, 2).double(), _double(3, 6, 8)
    parts, past = [], None
    for start, end in zip((0, *cuts), (*cuts, 6), strict=True):
        y, past = block(h[:, start:end], past)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), block(h)[0], **TOLERANCE)


def test_what_follows_moves_nothing():
    block, h = Block(8, 2).double(), _double(1, 6, 8)
    other = h.clone()
    other[:, 4:] += 1
    torch.testing.assert_close(block(other)[0][:, :4], block(h)[0][:, :4], rtol=0, atol=0)
    assert not torch.equal(block(other)[0][:, 4:], block(h)[0][:, 4:])


def test_waves_know_the_distance():
    waves = position_waves(30, 16).double()
    products = waves @ waves.T
    for distance in range(30):
        on = products.diagonal(distance)
        torch.testing.assert_close(on, on[:1].expand_as(on), rtol=0, atol=1e-4)  # angles in single precision
    apart = products - 16 * torch.eye(30)  # the largest product with another place
    assert (products.diagonal() > apart.amax(1) + 0.5).all()
