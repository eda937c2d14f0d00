"""`Model.predict` on an engine: Keras's arguments, datasets and callbacks, without its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras.src.trainers.epoch_iterator import EpochIterator  # not exported: reads every dataset


def predict_batches(
    model: Any,
    run: Callable[[Any], Any],
    x: Any,
    *,
    batch_size: int | None,
    verbose: str | int,
    steps: int | None,
    callbacks: Any,
) -> Any:
    """The loop of `keras.Model.predict`, batch by batch.

    Args:
        model: what the callbacks see.
        run: from the inputs of a batch to its outputs, both structures of arrays.
        x, batch_size, verbose, steps, callbacks: as for `predict`.
    """
    batches = EpochIterator(x, batch_size=batch_size, steps_per_epoch=steps, shuffle=False)
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = keras.callbacks.CallbackList(
            callbacks,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=1,
            steps=batches.num_batches,
            model=model,
        )
    model.stop_predicting = False
    outputs = []
    callbacks.on_predict_begin()
    for first, last, (data,) in batches:
        callbacks.on_predict_batch_begin(first)
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        outputs.append(run(inputs))
        callbacks.on_predict_batch_end(last, {"outputs": outputs[-1]})
        if model.stop_predicting:
            break
    callbacks.on_predict_end()
    if not outputs:
        raise ValueError("predict got no batch: the dataset is empty.")
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)
