"""The business rules: pure, without I/O, clock or logging."""
