"""Capture: any `keras.Model` -> one flat functional float model in the canonical vocabulary."""

from keras_octet.capture.graph import count_consumers, iter_nodes, producer, tensor_name
from keras_octet.capture.pipeline import capture
from keras_octet.capture.vocabulary import is_canonical

__all__ = ["capture", "count_consumers", "is_canonical", "iter_nodes", "producer", "tensor_name"]
