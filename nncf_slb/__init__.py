"""Search for 1- to 4-bit weights, exported to OpenVINO IR. Importing registers ``"slb"`` where NNCF 2.19 is installed.

What needs NNCF loads only where it is asked for; all else works without it.
"""

from __future__ import annotations

import importlib
from typing import Any

from nncf_slb.hosts.installed import MissingHostError, load_nncf, register_with_nncf
from nncf_slb.version import __version__

# Public names and the modules that they live in.
_PLACES = {
    "CHECKPOINT_TYPES": "hosts.checkpoint_types",
    "CheckpointError": "search.packed_file",
    "Comparison": "openvino.benchmark",
    "CompressionStage": "hosts.controller",
    "ConfigError": "config.section",
    "DataError": "errors",
    "DeviceError": "errors",
    "ExportError": "openvino.low_bit_model",
    "ImageError": "photos.images",
    "Inspection": "openvino.inspection",
    "IrError": "openvino.ir",
    "LayerStatistics": "search.statistics",
    "LoweringError": "openvino.graph",
    "ModelError": "hosts.model_checks",
    "NotFiniteError": "search.finite",
    "NothingToSearchError": "hosts.torch.planning",
    "OnnxError": "onnx.reading",
    "OnnxInspection": "onnx.inspection",
    "OnnxVerification": "onnx.verification",
    "PackedInspection": "search.packed_inspection",
    "PostTraining": "hosts.torch.result",
    "SLBConfig": "config.section",
    "SLBError": "errors",
    "SearchController": "hosts.controller",
    "SLBStatistics": "hosts.nncf2.statistics",
    "SensitivityError": "bits.sensitivity",
    "SettingError": "errors",
    "StripError": "search.strip",
    "UnsupportedLayersError": "hosts.nncf2.planning",
    "UntrainableError": "search.reconstruction",
    "Upscaling": "photos.upscaling",
    "Verification": "openvino.verification",
    "benchmark_files": "onnx.benchmark",
    "benchmark_openvino": "openvino.benchmark",
    "create_compressed_model": "hosts.create",
    "export_openvino": "hosts.exporting",
    "flat_outputs": "openvino.call_form",
    "inspect_onnx": "onnx.inspection",
    "inspect_openvino": "openvino.inspection",
    "inspect_packed": "search.packed_inspection",
    "json_schema": "config.section",
    "load_packed": "search.packed",
    "logits_parameters": "search.parameters",
    "measure_sensitivity": "bits.sensitivity",
    "packed_operations": "openvino.with_nncf",
    "parameter_groups": "search.parameters",
    "read_for_nncf": "openvino.with_nncf",
    "save_after_nncf": "openvino.with_nncf",
    "save_packed": "search.packed",
    "search_post_training": "hosts.torch.post_training",
    "searched_network": "hosts.api",
    "unpack": "search.packed",
    "upscale_image": "photos.upscaling",
    "verify_onnx": "onnx.verification",
    "verify_openvino": "openvino.verification",
}
__all__ = ["MissingHostError", "__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _PLACES[name].startswith("hosts.nncf2."):
        load_nncf()
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


register_with_nncf()
