"""Turn a trained Keras model into a quantized Keras model."""

from keras_octet.api import calibrate, quantize
from keras_octet.calibrate.calibration import Calibration
from keras_octet.engines import EngineOptions
from keras_octet.errors import (
    CalibrationError,
    CaptureError,
    EngineError,
    ExportError,
    MissingDependencyError,
    ModelFileError,
    OctetError,
    RecipeError,
    RegistrationError,
    ThresholdError,
    ValidationError,
)
from keras_octet.exportable import ExportableModel
from keras_octet.inspection import (
    Inspection,
    OperationInspection,
    TensorInspection,
    inspect,
)
from keras_octet.install import install, uninstall
from keras_octet.model import LayerReport, QuantizationReport, QuantizedModel
from keras_octet.observer_specs import MSE, Entropy, MinMax, MovingAverage, Percentile
from keras_octet.qparams import QParams
from keras_octet.recipe import Recipe, Rule, Scheme, recipes
from keras_octet.tflite.export import export
from keras_octet.tflite.graph import Quantization
from keras_octet.tflite.load import load_model
from keras_octet.tflite.read.custom import (
    CustomForm,
    CustomOperator,
    CustomTensor,
    register_custom_operator,
    unregister_custom_operator,
)
from keras_octet.validate import ValidationReport, validate
from keras_octet.version import __version__ as __version__

__all__ = [
    "MSE",
    "Calibration",
    "CalibrationError",
    "CaptureError",
    "CustomForm",
    "CustomOperator",
    "CustomTensor",
    "EngineError",
    "EngineOptions",
    "Entropy",
    "ExportError",
    "ExportableModel",
    "Inspection",
    "LayerReport",
    "MinMax",
    "MissingDependencyError",
    "ModelFileError",
    "MovingAverage",
    "OctetError",
    "OperationInspection",
    "Percentile",
    "QParams",
    "Quantization",
    "QuantizationReport",
    "QuantizedModel",
    "Recipe",
    "RecipeError",
    "RegistrationError",
    "Rule",
    "Scheme",
    "TensorInspection",
    "ThresholdError",
    "ValidationError",
    "ValidationReport",
    "calibrate",
    "export",
    "inspect",
    "install",
    "load_model",
    "quantize",
    "recipes",
    "register_custom_operator",
    "uninstall",
    "unregister_custom_operator",
    "validate",
]
