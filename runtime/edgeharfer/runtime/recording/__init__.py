"""Recordings without pictures: the model outputs of each frame, which can be replayed to the same results."""
