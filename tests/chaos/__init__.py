"""Real faults on real processes. Every test ends in a count: accepted, delivered, lost, duplicated, reordered."""
