import pytest

from semanticodec.config import OPERATING_POINTS, SemantiCodecConfig, operating_point


def test_there_are_twelve_points_with_the_published_bitrates():
    rates = {point: config.nominal_kbps for point, config in OPERATING_POINTS.items()}
    assert len(rates) == 12
    assert rates[100, 16384] == pytest.approx(1.35)
    assert rates[100, 32768] == pytest.approx(1.40)
    assert rates[50, 8192] == pytest.approx(0.65)
    assert rates[25, 4096] == pytest.approx(0.3125)


@pytest.mark.parametrize(
    ("rate", "width", "positions", "grid", "context"),
    [
        (100, 768, 512, (64, 8), 1728),
        (50, 1536, 256, (64, 4), 3264),
        (25, 3072, 128, (32, 4), 6336),
    ],
)
def test_sizes_of_the_released_models(rate, width, positions, grid, context):
    config = operating_point(rate, 4096)
    assert config.feature_width == width
    assert config.positions == positions
    assert config.grid == grid
    assert config.context_width == context
    assert config.token_rate == rate
    assert config.latent_shape == (8, 256, 16)
    assert config.window_samples == 163840


def test_an_unknown_point_names_the_valid_ones():
    with pytest.raises(ValueError, match=r"\[25, 50, 100\]"):
        operating_point(75, 4096)


def test_dictionaries_and_back():
    config = operating_point(25, 32768)
    assert SemantiCodecConfig.from_dict(config.to_dict()) == config


def test_an_unknown_field_is_an_error():
    with pytest.raises(ValueError, match="colour"):
        SemantiCodecConfig.from_dict({"colour": 1})
