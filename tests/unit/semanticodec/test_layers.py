"""The cheaper ways of ``layers.py`` give what the plain layers give."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semanticodec import fastconv, layers

LAYERS = {
    "linear": (lambda: layers.Linear(12, 20), (3, 7, 12)),
    "linear without bias": (lambda: layers.Linear(12, 20, bias=False), (5, 12)),
    "conv1d": (lambda: layers.Conv1d(6, 9, 7, padding=3), (2, 6, 83)),
    "dilated conv1d": (lambda: layers.Conv1d(6, 9, 3, padding=5, dilation=5), (2, 6, 83)),
    "long conv1d": (lambda: layers.Conv1d(64, 65, 11, padding=15, dilation=3), (2, 64, 200)),
    "transposed, stride 5": (lambda: layers.ConvTranspose1d(6, 9, 16, 5, 5), (2, 6, 43)),
    "transposed, stride 2": (lambda: layers.ConvTranspose1d(6, 9, 4, 2, 1), (1, 6, 1)),
    "conv2d": (lambda: layers.Conv2d(6, 9, 3, padding=1), (2, 6, 13, 4)),
    "strided conv2d": (lambda: layers.Conv2d(6, 9, 3, stride=2, padding=1), (2, 6, 14, 4)),
    "large conv2d": (lambda: layers.Conv2d(128, 129, 3, padding=1), (1, 128, 70, 60)),
    "upsampling": (lambda: layers.UpsampleConv2d(6, 9, 3, padding=1), (2, 6, 13, 4)),
}


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(params=LAYERS.values(), ids=LAYERS)
def pair(request) -> tuple[layers.CheapLayer, torch.Tensor]:
    make, shape = request.param
    torch.manual_seed(0)
    return make(), torch.randn(shape)


def test_the_cheap_way_is_the_plain_one(pair):
    layer, x = pair
    expected = layer(x)
    layers.set_fast(layer, True)
    for form in (layer, layers.prepared(layer)):
        for _ in range(2):  # the second call of a prepared layer uses what it has kept
            assert torch.allclose(form(x), expected, atol=5e-5)  # of Winograd


def test_the_cheap_way_under_autocast(pair):
    layer, x = pair
    expected = layer(x)
    layers.set_fast(layer, True)
    with torch.autocast("cpu", torch.bfloat16):
        for form in (layer, layers.prepared(layer)):
            y = form(x)
            assert y.dtype == torch.bfloat16
            assert torch.allclose(y.float(), expected, atol=0.02)


def test_gradients_go_the_plain_way(pair):
    layer, x = pair
    layers.set_fast(layer, True)
    with torch.enable_grad():
        layer(x).square().mean().backward()
    assert layer.weight.grad.abs().max() > 0


@pytest.mark.parametrize("method", ["gelu", "geglu"])
def test_fused_activations(method):
    torch.manual_seed(0)
    layer, x = layers.Linear(12, 20), torch.randn(2, 7, 12)
    y = F.linear(x, layer.weight, layer.bias)
    halves = y.chunk(2, -1)
    expected = F.gelu(y) if method == "gelu" else halves[0] * F.gelu(halves[1])
    assert torch.allclose(getattr(layer, method)(x), expected, atol=1e-6)
    layers.set_fast(layer, True)
    for form in (layer, layers.prepared(layer)):
        assert torch.allclose(getattr(form, method)(x), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 50, 70, 8), (1, 1, 90, 40, 128)], ids=["narrow", "wide"])
def test_attention_in_pieces(shape, dtype, monkeypatch):
    batch, heads, length, context, width = shape
    torch.manual_seed(0)
    query = torch.randn(batch, length, heads, width).transpose(1, 2)
    key, value = torch.randn(2, batch, heads, context, width)
    expected = F.scaled_dot_product_attention(query, key, value)
    cast = [part.to(dtype) for part in (query, key, value)]
    tolerance = 1e-6 if dtype == torch.float32 else 0.02
    for scores in (1 << 20, 1000):  # in one piece, in many
        monkeypatch.setattr(layers, "_SCORES", scores)
        assert torch.allclose(layers.attention(*cast).float(), expected, atol=tolerance)


def test_large_convolutions_take_the_algorithms_that_save_products(monkeypatch):
    layer = layers.Conv1d(128, 128, 11, padding=5)
    calls = []
    monkeypatch.setattr(fastconv, "conv1d", lambda *args: calls.append(args) or args[0])
    layer(torch.randn(1, 128, 40))
    assert not calls
    layers.set_fast(layer, True)
    layer(torch.randn(1, 128, 40))
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 128, 40))
    assert [{part.dtype for part in call[:3]} for call in calls] == [
        {torch.float32},
        {torch.bfloat16},
    ]


def test_a_prepared_copy_shares_the_weights_and_leaves_the_original_alone():
    model = nn.Sequential(layers.Linear(4, 4), nn.LayerNorm(4))
    layers.set_fast(model, True)
    twin = layers.prepared(model)
    own = zip(model.parameters(), twin.parameters(), strict=True)
    assert all(first is second for first, second in own)
    x = torch.randn(2, 4)
    assert torch.allclose(twin(x), model(x), atol=1e-6)
    model[0].weight.mul_(2)
    changed = model(x)
    assert torch.allclose(changed, F.layer_norm(F.linear(x, *model[0].parameters()), (4,)))
