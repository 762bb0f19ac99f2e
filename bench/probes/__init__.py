"""Probes: what a frozen codec's tokens tell a small classifier about the audio."""
