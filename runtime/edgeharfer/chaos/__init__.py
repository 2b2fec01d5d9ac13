"""Faults for an installed device: each is done to the running product for real, and its recovery is timed."""
