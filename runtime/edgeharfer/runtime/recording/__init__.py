"""Recordings without pixels: what the models saw in each frame, to be played again to the same results."""
