"""Overlays for Model Explorer: every key is a node of the exported file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema

import keras_octet as ko
from keras_octet.validate.overlay import MEASURES
from tests.models import conv1d_autoencoder, convolutional, images, randomize, u_net
from tests.validate.support import quick

MODELS = (convolutional, u_net, conv1d_autoencoder)


def overlay(report: ko.ValidationReport, folder: Path, measure: str) -> dict[str, Any]:
    report.save_overlay(folder / "overlay.json", measure)
    return json.loads((folder / "overlay.json").read_text())


def tensors_made(content: bytes) -> set[str]:
    """Names of the tensors that the operators of a file make."""
    subgraph = schema.ModelT.InitFromPackedBuf(content).subgraphs[0]
    indices = [index for operator in subgraph.operators for index in operator.outputs]
    return {subgraph.tensors[index].name.decode() for index in indices}


def compared(make: Any, recipe: ko.Recipe) -> tuple[ko.QuantizedModel, ko.ValidationReport]:
    model = randomize(make())
    x = images(1, 16, *model.input_shape[1:])
    quantized = ko.quantize(model, x, recipe=recipe)
    return quantized, quick(model, quantized, x, layer_samples=16, effects=True)


@pytest.mark.parametrize("make", MODELS)
def test_every_key_is_a_tensor_of_the_file(make: Any, tmp_path: Path) -> None:
    quantized, report = compared(make, ko.recipes.w8a8())
    made = tensors_made(quantized.to_tflite())
    for measure in MEASURES:
        data = overlay(report, tmp_path, measure)
        assert data["results"].keys() <= made
        # All but the Dequantize of the output, and what is exact.
        assert len(data["results"]) >= len(made) - 2
        assert all(math.isfinite(item["value"]) for item in data["results"].values())


def test_values_are_those_of_the_report(tmp_path: Path) -> None:
    _, report = compared(convolutional, ko.recipes.w8a8())
    row = next(row for row in report.layers if row.name == "project")
    for measure, expected in (
        ("effect", row.effect),
        ("own", row.own.sqnr),
        ("accumulated", row.accumulated.sqnr),
    ):
        value = overlay(report, tmp_path, measure)["results"]["project"]["value"]
        assert value == pytest.approx(expected, abs=0.006)


def test_layers_in_float_have_only_an_accumulated_error(tmp_path: Path) -> None:
    _, report = compared(convolutional, ko.recipes.w8a8(keep_float=["residual", "pool"]))
    assert "residual" not in overlay(report, tmp_path, "own")["results"]
    assert "residual" in overlay(report, tmp_path, "accumulated")["results"]


def test_what_was_not_measured_is_not_written(tmp_path: Path) -> None:
    model = randomize(convolutional())
    x = images(1, 8, 16, 16, 3)
    report = quick(model, ko.quantize(model, x), x)
    with pytest.raises(ko.ValidationError, match="has no 'effect' of its layers"):
        report.save_overlay(tmp_path / "overlay.json")
    with pytest.raises(ko.ValidationError, match=r"measure must be one of .* Received: 'sqnr'"):
        report.save_overlay(tmp_path / "overlay.json", "sqnr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", MODELS)
def test_model_explorer_has_a_node_for_every_key(make: Any, tmp_path: Path) -> None:
    pytest.importorskip("model_explorer", reason="ai-edge-model-explorer is not installed")
    from model_explorer.builtin_tflite_flatbuffer_adapter import BuiltinTfliteFlatbufferAdapter
    from model_explorer.node_data_builder import GraphNodeData, NodeDataResult, ThresholdItem

    quantized, report = compared(make, ko.recipes.w8a8())
    quantized.export(tmp_path / "model.tflite")
    data = overlay(report, tmp_path, "own")
    parsed = GraphNodeData(
        **data
        | {
            "results": {k: NodeDataResult(**v) for k, v in data["results"].items()},
            "thresholds": [ThresholdItem(**item) for item in data["thresholds"]],
        }
    )
    written = json.loads(parsed.to_json_string())
    assert {key: written[key] for key in data} == data
    converted = BuiltinTfliteFlatbufferAdapter().convert(str(tmp_path / "model.tflite"), {})
    (graph,) = converted["graphCollections"][0].graphs
    names = {
        attribute["value"]
        for node in graph["nodes"]
        for output in node.get("outputsMetadata", ())
        for attribute in output["attrs"]
        if attribute["key"] == "tensor_name"
    }
    assert data["results"].keys() <= names
