"""The vendor, played on loopback: for the demo, for tests, and for users without credentials."""
