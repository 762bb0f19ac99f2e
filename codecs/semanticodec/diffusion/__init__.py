"""Latent diffusion: the denoiser, the noise schedules and the samplers."""
