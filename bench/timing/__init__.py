"""How fast codecs are, and what they cost: time, latency, memory, parameters, arithmetic."""
