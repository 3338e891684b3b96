"""Worlds in which things go wrong, and an oracle that shares no code with the product."""
