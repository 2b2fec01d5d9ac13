"""Accuracy of what would be deployed, measured with the runtime's own code."""
