"""Ways to break the product on purpose, each of which the simulation must find."""

SABOTAGE = {}
