"""What a subclassed model is called on: shapes and dtypes of its inputs."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from keras_octet.capture.keras_private import tree
from keras_octet.errors import CaptureError


def model_signature(model: keras.Model, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Example arguments of `model.call`, and the structure of the flat model's inputs.

    The sources, in order: `inputs`; `model.inputs`; the shapes recorded when the model was built;
    `model.input_spec`. A batch size that was recorded is replaced by None.

    Returns:
        `(args, kwargs, structure)`, KerasTensors in all three. For a model with several arguments
        `structure` is the list of them, or what `inputs` is: a list, or a dict by name.

    Raises:
        CaptureError: the model is not built, or nothing says what its inputs are.
    """
    if not model.built:
        raise CaptureError(
            f"Model {model.name!r} of class {type(model).__name__} is not built. "
            "Call it once on data (`model(x)`) or `model.build(input_shape)` first."
        )
    required = _required_arguments(model)
    if inputs is not None:
        return _given(tree.map_structure(_like, inputs), required)
    known = getattr(model, "_inputs_struct", None)
    if known is not None:
        example = tree.map_structure(_like, known)
        return (example,), {}, example
    shapes = _recorded_shapes(model)
    if shapes is None:
        example = _from_spec(model)
        return (example,), {}, example
    examples = {}
    names = list(model.call_signature_parameters)
    for i, (key, value) in enumerate(shapes.items()):
        name = key.removesuffix("_shape")
        if name not in names:  # `build(input_shape)`: the first argument of `call`.
            name = names[i]
        examples[name] = _tensors(value, name)
    missing = [name for name in required if name not in examples]
    if missing:
        raise CaptureError(
            f"`{type(model).__name__}.call` takes {required}, and Keras recorded the shape of "
            f"{sorted(examples)} only. Pass `inputs={{name: keras.KerasTensor(shape, dtype)}}` "
            "with every argument."
        )
    if len(examples) == 1:
        example = next(iter(examples.values()))
        return (example,), {}, example
    return (), examples, list(examples.values())


def _required_arguments(model: keras.Model) -> list[str]:
    """Names of the arguments of `call` that have no default."""
    parameters = inspect.signature(model.call).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds and p.default is p.empty]


def _given(example: Any, required: list[str]) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Arguments from the examples the caller gave, spread over several arguments if need be."""
    if len(required) > 1 and isinstance(example, dict) and set(required) <= set(example):
        return (), dict(example), example
    if len(required) > 1 and isinstance(example, (list, tuple)) and len(example) == len(required):
        return tuple(example), {}, example
    return (example,), {}, example


def _recorded_shapes(model: keras.Model) -> dict[str, Any] | None:
    recorded = getattr(model, "_build_shapes_dict", None)
    if not recorded:
        return None
    recorded = dict(recorded)
    if set(recorded) == {"input_shape"} and recorded["input_shape"] is None:
        return None
    return recorded


def _tensors(shapes: Any, name: str) -> Any:
    if _is_shape(shapes):
        return keras.KerasTensor((None, *shapes[1:]), dtype="float32", name=name)
    if isinstance(shapes, dict):
        return {key: _tensors(value, str(key)) for key, value in shapes.items()}
    return type(shapes)(_tensors(value, f"{name}_{i}") for i, value in enumerate(shapes))


def _is_shape(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(
        size is None or isinstance(size, int) for size in value
    )


def _like(value: Any) -> keras.KerasTensor:
    dtype = keras.backend.standardize_dtype(value.dtype)
    shape = tuple(value.shape)
    if not isinstance(value, keras.KerasTensor):
        shape = (None, *shape[1:])
    return keras.KerasTensor(shape, dtype=dtype, name=getattr(value, "name", None))


def _from_spec(model: keras.Model) -> Any:
    spec = model.input_spec
    shapes = [s.shape for s in tree.flatten(spec)] if spec is not None else []
    if not shapes or any(shape is None for shape in shapes):
        raise CaptureError(
            f"Nothing says which inputs model {model.name!r} takes: it was built without recorded "
            "shapes. Call it once on data, or pass `inputs=keras.KerasTensor(shape, dtype)`."
        )
    return tree.map_structure(
        lambda s: keras.KerasTensor((None, *s.shape[1:]), dtype=s.dtype or "float32"), spec
    )
