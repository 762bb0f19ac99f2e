"""SemantiCodec (arXiv 2405.00233): an ultra low bitrate codec for speech, music and sound.

from semanticodec import SemantiCodec

codec = SemantiCodec(token_rate=100, semantic_vocab_size=16384)
tokens = codec.encode("speech.wav")
data = tokens.to_bytes()          # a .smc stream
waveform = codec.decode(data)     # [1, channels, N] at 16 kHz
"""

from semanticodec.bitstream import BitstreamError
from semanticodec.codec import SemantiCodec
from semanticodec.config import OPERATING_POINTS, SemantiCodecConfig, operating_point
from semanticodec.errors import AudioError, CheckpointError, CodecError, TokenError
from semanticodec.hub import load_model
from semanticodec.settings import PRESETS, DecodeSettings, Execution
from semanticodec.tokens import Tokens

__all__ = [
    "OPERATING_POINTS",
    "PRESETS",
    "AudioError",
    "BitstreamError",
    "CheckpointError",
    "CodecError",
    "DecodeSettings",
    "Execution",
    "SemantiCodec",
    "SemantiCodecConfig",
    "TokenError",
    "Tokens",
    "load_model",
    "operating_point",
]
