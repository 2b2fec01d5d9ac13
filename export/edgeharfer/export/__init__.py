"""Keras models to model packages: conversion to ONNX, the encoder and head split, parity, receipts."""

from edgeharfer.export.exporter import PRECISIONS, export_model
from edgeharfer.export.source import read_labels

__all__ = ["PRECISIONS", "export_model", "read_labels"]
