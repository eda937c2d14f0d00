"""Emit functions: how each layer or operation becomes `.tflite` operators.

`EMITTERS` maps the exact class of a layer or `keras.ops` Operation to its emit function. A float
layer and the quantized layer of the same meaning share one.
"""

from __future__ import annotations

from keras_octet.tflite.emit.common import EmitFunction
from keras_octet.tflite.emit.table import EMITTERS

__all__ = ["EMITTERS", "EmitFunction"]
