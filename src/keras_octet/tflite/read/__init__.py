"""Reading `.tflite`: bytes, to a parsed file, to a functional Keras model."""

from keras_octet.tflite.read.builder import BuiltGraph, build
from keras_octet.tflite.read.parse import TFLiteFile, parse

__all__ = ["BuiltGraph", "TFLiteFile", "build", "parse"]
