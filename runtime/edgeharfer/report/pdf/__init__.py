"""`report.pdf`: ReportLab sets text and tables, matplotlib's charts are laid in as vectors.

story -> ReportLab pages with room for charts -> pypdf lays each chart into its room
"""
