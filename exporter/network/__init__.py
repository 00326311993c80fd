"""Traffic: reading counters, attributing them to Docker networks, and summing them up."""
