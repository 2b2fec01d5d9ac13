"""Reports on videos and pictures as CSV, JSON, charts and a PDF.

source -> Analyzer -> Observations -> make_report -> Report -> write_report -> a folder
"""
