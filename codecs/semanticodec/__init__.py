"""SemantiCodec (arXiv 2405.00233): an ultra low bitrate codec for speech, music and sound."""
