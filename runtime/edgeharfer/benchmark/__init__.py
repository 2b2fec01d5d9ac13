"""How fast packages are: against each other, against other engines, and end to end.

Imports only NumPy, OpenCV and ONNX Runtime; other engines are imported when they are asked for.
"""
