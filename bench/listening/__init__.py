"""Listening tests: a run as a webMUSHRA test, and the ratings that come back.

``export`` writes the test, ``evaluate`` screens and summarises its ratings, ``write`` puts the
outcome into a run's report.
"""

from bench.listening.evaluation import Evaluation, evaluate, write
from bench.listening.exporting import export
from bench.listening.model import PRESETS, ListeningTest

__all__ = ["PRESETS", "Evaluation", "ListeningTest", "evaluate", "export", "write"]
