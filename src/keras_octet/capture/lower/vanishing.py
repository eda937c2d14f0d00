"""Operations that do nothing at inference: they leave no trace in the flat model."""

from __future__ import annotations

from typing import Any

import keras

from keras_octet.capture.keras_private import core_operations, numpy_operations
from keras_octet.capture.lower.registry import Call, lowers

_FLOATS = ("float16", "bfloat16", "float32", "float64")


@lowers(
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
    core_operations.StopGradient,
    numpy_operations.Copy,
)
def _vanish(call: Call) -> Any:
    return call.x


@lowers(
    keras.layers.RandomBrightness,
    keras.layers.RandomColorDegeneration,
    keras.layers.RandomColorJitter,
    keras.layers.RandomContrast,
    keras.layers.RandomElasticTransform,
    keras.layers.RandomErasing,
    keras.layers.RandomFlip,
    keras.layers.RandomGaussianBlur,
    keras.layers.RandomGrayscale,
    keras.layers.RandomHue,
    keras.layers.RandomInvert,
    keras.layers.RandomPerspective,
    keras.layers.RandomPosterization,
    keras.layers.RandomRotation,
    keras.layers.RandomSaturation,
    keras.layers.RandomSharpness,
    keras.layers.RandomShear,
    keras.layers.RandomTranslation,
    keras.layers.RandomZoom,
    keras.layers.AugMix,
    keras.layers.RandAugment,
)
def _augmentation(call: Call) -> Any:
    """Augmentation is for training; what remains is the conversion to float."""
    if not isinstance(call.x, keras.KerasTensor):
        return None
    if "float" in call.x.dtype or not call.is_float:
        return call.x
    return call.emit_operation(core_operations.Cast, call.x, dtype="float32")


@lowers(core_operations.Cast, core_operations.ConvertToTensor)
def _cast(call: Call) -> Any:
    dtype = call.outputs[0].dtype
    if call.x.dtype == dtype or (call.x.dtype in _FLOATS and dtype in _FLOATS):
        return call.x
    if dtype in _FLOATS:
        return call.emit_operation(core_operations.Cast, call.x, dtype="float32")
    return None
