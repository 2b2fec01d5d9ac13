"""Accuracy of model packages, measured with the code that runs them on a device."""
