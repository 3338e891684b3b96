"""Named scenarios: a short story a file, in the words of operations, on a real Postgres and a virtual clock."""
