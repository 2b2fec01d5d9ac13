"""Teach an action package from a few clips of each class: frozen encoder, linear head, no TensorFlow."""
