"""Capture: any `keras.Model` -> one flat functional float model in the canonical vocabulary."""

from keras_octet.capture.graph import count_consumers, iter_nodes, producer, tensor_name

__all__ = ["count_consumers", "iter_nodes", "producer", "tensor_name"]
