"""Benchmarks of packages against each other, against other engines, and of the whole pipeline.

Imports only NumPy, OpenCV and ONNX Runtime; other engines are imported when they are requested.
"""
