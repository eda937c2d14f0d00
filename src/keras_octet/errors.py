"""Every error the library raises on purpose.

`OctetError` is the root, so `except keras_octet.OctetError` catches all of them. Each subclass also
derives from the built-in exception a Keras user would expect, so existing handlers keep working.
"""


class OctetError(Exception):
    """Root of the library's errors."""


class CaptureError(OctetError, ValueError):
    """The model could not be turned into one flat functional model."""


class CalibrationError(OctetError, ValueError):
    """The representative dataset, or statistics made from it, cannot be used."""


class RecipeError(OctetError, ValueError):
    """A recipe or quantization parameter is not valid."""


class ExportError(OctetError, ValueError):
    """The model has a part that the target format cannot express."""


class ModelFileError(OctetError, ValueError):
    """A model file is damaged, hostile or not of the expected kind."""


class RegistrationError(OctetError, ValueError):
    """A custom operator cannot be registered, or is not."""


class EngineError(OctetError, RuntimeError):
    """An engine is unknown, not installed, or cannot run the model."""


class ValidationError(OctetError, ValueError):
    """The models, data, metrics or thresholds of a validation do not fit each other."""


class ThresholdError(OctetError, AssertionError):
    """A quantized model does not meet the thresholds it was validated against."""


class MissingDependencyError(OctetError, ImportError):
    """A package that this part needs, and that is installed on request only, is missing."""
