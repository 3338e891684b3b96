"""The queries, one file per subject."""
