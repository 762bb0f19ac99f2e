import numpy as np
import pytest
import torch

from semanticodec.config import FrontendConfig
from semanticodec.frontend import Frontend, sinc_resample


def test_filterbank_agrees_with_kaldi(sound):
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hanning"
    options.frame_opts.samp_freq = 16000
    options.mel_opts.num_bins = 80  # it refuses 128, some of whose filters hold one bin
    options.mel_opts.high_freq = 8000
    options.use_energy = False
    reference = knf.OnlineFbank(options)
    wave = sound(16000)[0]
    reference.accept_waveform(16000, wave.tolist())
    reference.input_finished()
    expected = np.stack([reference.get_frame(i) for i in range(reference.num_frames_ready)])
    ours = Frontend(FrontendConfig(num_mels=80))(torch.from_numpy(wave)[None])[0].numpy()
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_silence_is_the_energy_floor_and_missing_frames_are_zero():
    frontend = Frontend(FrontendConfig())
    features = frontend.features(torch.zeros(1, 1600), 12)
    assert features.shape == (1, 12, 128)
    assert features[0, 0, 0].item() == pytest.approx(-1.27759, abs=1e-4)
    assert features[0, -1, 0].item() == pytest.approx(0.46703, abs=1e-4)


@pytest.mark.parametrize(("orig", "new"), [(44100, 16000), (8000, 16000), (48000, 16000)])
def test_resampling_keeps_a_tone(orig, new):
    time = torch.arange(orig) / orig
    tone = torch.sin(2 * torch.pi * 440 * time)[None]
    resampled = sinc_resample(tone, orig, new)
    assert resampled.shape == (1, new)
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(new) / new)
    assert (resampled[0] - expected)[200:-200].abs().max() < 5e-3
