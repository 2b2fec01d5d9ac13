"""Calibration sets, INT8 recipes and the accuracy guard that decides which of them a package gets."""
