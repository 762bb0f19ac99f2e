"""Statistics on tidy rows: bootstrap intervals, paired differences and summaries."""
