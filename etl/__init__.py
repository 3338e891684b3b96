"""Download FX trades from the Integral STP queue, book them, and prove what is complete."""
