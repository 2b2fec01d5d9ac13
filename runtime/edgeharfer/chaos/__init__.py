"""Inject real faults into a running installation and measure its recovery."""
