"""`report.pdf`: text and tables by ReportLab, with matplotlib charts inserted as vector graphics.

story -> ReportLab pages with placeholders for charts -> pypdf inserts each chart
"""
