"""`report.html`: the blocks of a report as one accessible page without scripts or further files."""
