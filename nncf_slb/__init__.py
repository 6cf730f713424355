"""Search for 1- to 4-bit weights as an NNCF algorithm; importing this package registers ``"slb"``.

Where NNCF is not installed, only what a stripped model needs (`nncf_slb.search.strip`) can be used.
"""

from __future__ import annotations

from importlib.util import find_spec

from nncf_slb.version import __version__

if find_spec("nncf") is not None:
    from nncf_slb.hosts.nncf2.registration import prepare_environment, register

    prepare_environment()
    register()

    from nncf_slb.bits.sensitivity import SensitivityError
    from nncf_slb.config.section import ConfigError, SLBConfig, json_schema
    from nncf_slb.hosts.nncf2.api import (
        CHECKPOINT_TYPES,
        logits_parameters,
        measure_sensitivity,
        parameter_groups,
        searched_network,
    )
    from nncf_slb.hosts.nncf2.model_checks import ModelError
    from nncf_slb.hosts.nncf2.planning import UnsupportedLayersError
    from nncf_slb.openvino.benchmark import Comparison, benchmark_openvino
    from nncf_slb.openvino.call_form import flat_outputs
    from nncf_slb.openvino.export import ExportError, export_openvino
    from nncf_slb.openvino.graph import LoweringError
    from nncf_slb.openvino.inspection import Inspection, inspect_openvino
    from nncf_slb.openvino.ir import IrError
    from nncf_slb.openvino.verification import Verification, verify_openvino
    from nncf_slb.photos.images import ImageError
    from nncf_slb.photos.upscaling import Upscaling, upscale_image
    from nncf_slb.search.finite import NotFiniteError
    from nncf_slb.search.statistics import LayerStatistics, SLBStatistics

    __all__ = [
        "CHECKPOINT_TYPES",
        "Comparison",
        "ConfigError",
        "ExportError",
        "ImageError",
        "Inspection",
        "IrError",
        "LayerStatistics",
        "LoweringError",
        "ModelError",
        "NotFiniteError",
        "SLBConfig",
        "SLBStatistics",
        "SensitivityError",
        "UnsupportedLayersError",
        "Upscaling",
        "Verification",
        "__version__",
        "benchmark_openvino",
        "export_openvino",
        "flat_outputs",
        "inspect_openvino",
        "json_schema",
        "logits_parameters",
        "measure_sensitivity",
        "parameter_groups",
        "searched_network",
        "upscale_image",
        "verify_openvino",
    ]
