import pytest
import torch
from torch.nn import functional as F

from semanticodec import fastconv
from semanticodec.acoustic import BiLSTM
from semanticodec.config import SemanticConfig
from semanticodec.layers import set_fast
from semanticodec.model import position_table, valid_frames
from semanticodec.semantic import nearest, stack_patches


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def test_a_centroid_is_its_own_nearest():
    codebook = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nearest(codebook, codebook), torch.arange(50))


def test_ties_go_to_the_first():
    codebook = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert nearest(torch.tensor([[2.0, 0.0]]), codebook).item() == 0


def test_stacking_puts_time_before_frequency():
    # a 4 x 4 grid whose patch value is 10 * time + band
    grid = (10 * torch.arange(4)[:, None] + torch.arange(4)).reshape(1, 16, 1)
    stacked = stack_patches(grid, (4, 4), SemanticConfig(2, 2, 2))
    assert stacked[0].tolist() == [
        [0, 1, 10, 11],
        [2, 3, 12, 13],
        [20, 21, 30, 31],
        [22, 23, 32, 33],
    ]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 0.01)])
def test_lstm_agrees_with_torch(dtype, tolerance):
    torch.manual_seed(0)
    lstm = BiLSTM(6, 10, 2).requires_grad_(False)
    set_fast(lstm, True)
    x = torch.randn(3, 20, 6)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        ours = lstm.encode(x)
    assert ours.dtype == getattr(torch, dtype)
    assert torch.allclose(ours.float(), lstm(x)[0], atol=tolerance)


def test_lstm_rows_do_not_depend_on_their_company():
    torch.manual_seed(0)
    lstm = BiLSTM(64, 96, 1).requires_grad_(False)
    set_fast(lstm, True)
    x = torch.randn(5, 12, 64)
    assert torch.equal(lstm.encode(x)[:1], lstm.encode(x[:1]))


def test_valid_frames_stop_after_the_last_that_varies():
    features = torch.randn(3, 8, 16)
    features[0, 5:] = -1.2776
    features[1] = 0.0
    assert valid_frames(features).tolist() == [5, 0, 8]


def test_positions_are_sines_on_even_channels():
    table = position_table(10, 8)
    assert table.shape == (10, 8)
    assert table[3, 0].item() == pytest.approx(torch.tensor(3.0).sin().item())
    assert table[3, 1].item() == pytest.approx(torch.tensor(3.0).cos().item())


def distance_db(result, expected):
    """Return how far below ``expected`` the error lies."""
    error = (result.float() - expected).square().mean() / expected.square().mean()
    return 10 * error.log10().item()


@pytest.mark.parametrize(("taps", "dilation", "length"), [(3, 1, 50), (7, 3, 333), (11, 5, 1000)])
def test_fast_convolution_in_one_dimension(taps, dilation, length):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 8, length), torch.randn(6, 8, taps), torch.randn(6)
    direct = F.conv1d(x, weight, bias, dilation=dilation, padding=(taps - 1) // 2 * dilation)
    assert torch.allclose(fastconv.conv1d(x, weight, bias, dilation), direct, atol=2e-5)
    rough = fastconv.conv1d(x.bfloat16(), weight.bfloat16(), bias.bfloat16(), dilation)
    assert distance_db(rough, direct) < -40  # -44 was measured


@pytest.mark.parametrize("taps", [2, 3])
@pytest.mark.parametrize("shape", [(4, 4), (17, 30), (64, 16)])
def test_fast_convolution_in_two_dimensions(shape, taps):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 8, *shape), torch.randn(6, 8, taps, taps), torch.randn(6)
    direct = F.conv2d(x, weight, bias, padding=1)
    assert torch.allclose(fastconv.conv2d(x, weight, bias), direct, atol=1e-4)
    rough = fastconv.conv2d(x.bfloat16(), weight.bfloat16(), bias.bfloat16())
    assert distance_db(rough, direct) < -40  # -47 was measured
