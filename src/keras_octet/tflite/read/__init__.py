"""Reading `.tflite`: bytes, to a parsed file (`parse`), to a functional Keras model (`builder`)."""

from keras_octet.tflite.read.parse import TFLiteFile, parse

__all__ = ["TFLiteFile", "parse"]
