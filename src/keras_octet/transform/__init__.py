"""Transform: flat model and plan to a quantized functional graph."""

from keras_octet.transform.graph import transform

__all__ = ["transform"]
