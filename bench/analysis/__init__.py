"""What tokens are like and what damage does to them: statistics, stability, robustness."""
