"""Reports on videos and pictures: what was seen, as CSV, JSON, charts and a PDF.

source -> Analyzer -> Recording -> make_report -> Report -> write_report -> a folder
"""
