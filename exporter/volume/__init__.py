"""Volumes: what they use, what they may use, and who uses them."""
