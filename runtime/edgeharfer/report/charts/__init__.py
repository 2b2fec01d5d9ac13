"""The charts of a report. Each function returns a matplotlib Figure."""
