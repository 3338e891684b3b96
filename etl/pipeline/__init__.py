"""A message's way in: poll, land, book."""
