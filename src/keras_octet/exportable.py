"""`ExportableModel`: a functional `keras.Model` that can be written as `.tflite`."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras

from keras_octet.errors import ExportError
from keras_octet.files import atomic_path
from keras_octet.layers.base import register
from keras_octet.layers.operators.variables import share_variables
from keras_octet.layers.state import stateful_layers
from keras_octet.tflite.info import FileInfo, Written


@register
class ExportableModel(keras.Model):
    """A functional Keras model of layers that `.tflite` can express.

    What `keras_octet.load_model` makes of a float `.tflite` file; base of `QuantizedModel`. Made of
    `inputs`, `outputs` and `name` as any functional `keras.Model`.

    Args:
        file_info: what `export` writes beside the graph, or its configuration.
        output_names: names of the outputs in the file; by default those of `keras.Model`.
        signatures: the models of other signatures by their keys.

    Attributes:
        file_info: names and metadata of the `.tflite` file that `export` writes.

    Raises:
        ValueError: signatures, of a damaged `.keras` file, say, that are no such models, have the
            same key, or differ in a variable of the same name.
    """

    # Keras 3.14 takes a class for functional, in a file too, if its constructor has no positional
    # arguments with names of their own, and the other two have these names.
    def __init__(
        self,
        *args: Any,
        file_info: FileInfo | dict[str, Any] | None = None,
        output_names: Sequence[str] | None = None,
        signatures: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_arguments(*args, **kwargs))
        if output_names is not None:
            self.output_names = list(output_names)
        self.file_info = (
            FileInfo.from_config(file_info) if isinstance(file_info, dict) else file_info
        )
        others = {key: _as_signature(key, value) for key, value in (signatures or {}).items()}
        self._set_signatures(others)

    def _set_signatures(self, others: Mapping[str, ExportableModel]) -> None:
        """Raises ValueError if they share a key or cannot share a variable with this model."""
        if self._signature in others:
            raise ValueError(f"Two signatures have the key {self._signature!r}.")
        share_variables([self, *others.values()])
        # A type that Keras does not look into: these are no layers of this model.
        self._other_signatures: Mapping[str, ExportableModel] = MappingProxyType(dict(others))

    @property
    def _signature(self) -> str:
        return (self.file_info or FileInfo()).signature

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["output_names"] = list(self.output_names)
        if self.file_info is not None:
            config["file_info"] = self.file_info.get_config()
        if self._other_signatures:
            config["signatures"] = {
                key: keras.saving.serialize_keras_object(model)
                for key, model in self._other_signatures.items()
            }
        return config

    @property
    def signatures(self) -> Mapping[str, ExportableModel]:
        """The models of the signatures of the file by their keys, this model first.

        Variables of the file are one for all of them. `save` keeps them all, and `export` writes
        them to one file; `quantize`, `fit` and the like are about this model alone.
        """
        return MappingProxyType({self._signature: self, **self._other_signatures})

    @property
    def _saved_with_it(self) -> dict[str, ExportableModel]:
        """Keras saves the weights of the models that it finds in an attribute."""
        return dict(self._other_signatures)

    @property
    def stateful(self) -> bool:
        """Whether a call changes what later calls give; see `reset_state`."""
        return any(True for _ in stateful_layers(self))

    def reset_state(self) -> None:
        """Forget all calls so far: every layer that keeps state gets its initial state back.

        Those of the other signatures too, as with `reset_all_variables` of a LiteRT interpreter.
        """
        for model in self.signatures.values():
            for layer in stateful_layers(model):
                layer.reset_state()

    def load_weights(self, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.load_weights`; the file has the weights of all signatures."""
        super().load_weights(*args, **kwargs)
        for model in self.signatures.values():
            model._forget_compiled()

    def _forget_compiled(self) -> None:
        """A quantized model compiles its weights, this one does not."""

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        zipped: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.save`; a `.keras` file is compressed, and appears whole or not at all."""
        path = Path(filepath)
        is_remote = "://" in str(filepath)
        asks_first = path.exists() and not overwrite
        if path.suffix != ".keras" or zipped is False or is_remote or asks_first:
            super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
            return
        with atomic_path(path) as temporary:
            super().save(temporary, zipped=True, **kwargs)
            _compress(temporary)

    def to_tflite(
        self,
        batch_size: int | None = None,
        weights: str | None = None,
        *,
        for_xnnpack: bool = False,
    ) -> bytes:
        """The model as the bytes of a `.tflite` file that computes the same bits.

        Args:
            batch_size: number of samples that the file takes at once, for consumers that want every
                shape known. None: as in the model; an open batch size is 1 in the file, and
                runtimes may resize it.
            weights: `"float16"` halves a float file: constants are rounded to float16, and made
                float32 when the file is loaded. `"float32"` stores them as they are. None: as the
                `.tflite` file that the model came from did, if that changes no value.
            for_xnnpack: write another form of the graph, with the same results on XNNPACK: int8
                operators that it does not take, such as HARD_SWISH, as float32 ones, and images of
                few channels row by row or several columns at a time. That is much faster on CPUs
                for some models, and not for accelerators and microcontrollers. The engine
                `"litert"` runs this form.

        Raises:
            ExportError: naming every layer that `.tflite` cannot express; or the model has another,
                fixed batch size.
        """
        return self._write(batch_size, weights, for_xnnpack=for_xnnpack).content

    def _write(
        self,
        batch_size: int | None = None,
        weights: str | None = None,
        variables_outside: bool = False,
        *,
        for_xnnpack: bool = False,
    ) -> Written:
        from keras_octet.tflite.emit import EMITTERS
        from keras_octet.tflite.write import write

        # Variables are outside for an engine, which runs this model.
        others = {} if variables_outside else self._other_signatures
        return write(
            self,
            EMITTERS,
            batch_size,
            weights,
            variables_outside,
            others,
            for_xnnpack=for_xnnpack,
        )

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str | None = None,
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Write a `.tflite` file, or with another `format` what `keras.Model.export` writes.

        A `.tflite` file appears whole or not at all.

        Args:
            filepath: file to write, or for other formats the folder.
            format: `"tflite"` (also called `"litert"`), or one of `keras.Model.export`. By default
                what the end of `filepath` says: `"tflite"`, else `"tf_saved_model"`.
            verbose: print where the file is.
            input_signature: of `keras.Model.export`. For `.tflite` its batch size counts, as
                `batch_size` of `to_tflite` does; the other sizes must be those of the model.
            **kwargs: of `to_tflite`, or of `keras.Model.export`.
        """
        if format is None:
            format = "tflite" if str(filepath).endswith(".tflite") else "tf_saved_model"
        if format not in ("tflite", "litert"):
            kwargs |= {"verbose": verbose, "input_signature": input_signature}
            super().export(filepath, format=format, **kwargs)
            return
        if input_signature is not None:
            kwargs.setdefault("batch_size", _batch_size(self, input_signature))
        content = self.to_tflite(**kwargs)
        with atomic_path(filepath) as temporary:
            temporary.write_bytes(content)
        if verbose:
            print(f"Saved artifact at '{os.fspath(filepath)}'.")


def _arguments(inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> dict[str, Any]:
    return {"inputs": inputs, "outputs": outputs, "name": name, **kwargs}


def _as_signature(key: str, value: Any) -> ExportableModel:
    """A model, or what `get_config` has of it."""
    if isinstance(value, Mapping):
        value = keras.saving.deserialize_keras_object(value)
    if not isinstance(value, ExportableModel) or value._other_signatures:
        raise ValueError(
            f"Signature {key!r} should be an ExportableModel without further signatures. "
            f"Received: {type(value).__name__}"
        )
    return value


def _batch_size(model: keras.Model, input_signature: Any) -> int | None:
    """The batch size that a signature fixes."""
    received = [tuple(spec.shape) for spec in keras.tree.flatten(input_signature)]
    expected = [tuple(tensor.shape) for tensor in model.inputs]
    sizes = {shape[:1] for shape in received}
    if [shape[1:] for shape in received] != [shape[1:] for shape in expected] or len(sizes) != 1:
        raise ExportError(
            f"input_signature must have the shapes of the model's inputs, {expected}, with one "
            f"size in place of the first. Received: {received}"
        )
    return sizes.pop()[0]


def _compress(path: Path) -> None:
    """Deflate the entries of the ZIP file at `path`: Keras only stores them."""
    with (
        atomic_path(path) as packed,
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for item in source.infolist():
            target.writestr(item.filename, source.read(item))
