"""Training of SemantiCodec, stage by stage: data, autoencoder, vocoder, audiomae, codebook, codec.

Each stage is one module with one ``Task`` that ``loop.py`` runs; ``docs/training.md`` tells how.
"""
