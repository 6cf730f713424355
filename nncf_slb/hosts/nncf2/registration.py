"""The one place that touches NNCF's registry, schema and environment."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_ALGORITHM = "slb"
OLDER_NAMES = ("VPU",)  # of devices, for NNCF's schema


def register_config() -> None:
    """Register the schema and the check of the section, and quieten NNCF; needs no torch. Safe to call again."""
    from nncf.common.logging import nncf_logger
    from nncf.config import schema

    if _ALGORITHM not in schema.REF_VS_ALGO_SCHEMA:
        nncf_logger.addFilter(_is_news)
        _register_schema()
        _register_config_check()


def _is_news(record: logging.LogRecord) -> bool:
    """Drop NNCF's advice to use torch 2.9: this package's own range was tested, and the line would go to stdout."""
    return "provides best results with torch" not in record.getMessage()


def register_algorithm() -> None:
    """Register the algorithm and its statistics, and confine NNCF's tracing. Safe to call again."""
    from nncf.torch.algo_selector import PT_COMPRESSION_ALGORITHMS

    from nncf_slb.hosts.nncf2.builder import SLBBuilder
    from nncf_slb.hosts.nncf2.modules import mend_gaps
    from nncf_slb.hosts.nncf2.tracing import confine_tracing

    confine_tracing()
    if _ALGORITHM in PT_COMPRESSION_ALGORITHMS.registry_dict:
        return
    PT_COMPRESSION_ALGORITHMS.register(_ALGORITHM)(SLBBuilder)
    mend_gaps()
    _mend_enumerations()
    _register_model_check()
    _register_statistics()
    _register_export()
    _register_compression_rate()
    _say_what_to_compile()


def _mend_enumerations() -> None:
    """Let NNCF's enumerations in compression states be pickled by class and value, as Python 3.11.4 and newer do.

    Earlier ones of 3.11 (Debian 12 has 3.11.2) pickle them by `getattr`, which ``torch.load(weights_only=True)``
    refuses for good reason.
    """
    from nncf_slb.hosts.nncf2.checkpoint_types import CHECKPOINT_TYPES

    for kind in CHECKPOINT_TYPES:
        kind.__reduce_ex__ = _by_value


def _by_value(member: Any, protocol: int) -> tuple[Any, tuple[Any]]:
    return type(member), (member.value,)


def _register_schema() -> None:
    from nncf.config import schema

    from nncf_slb.config.section import json_schema

    schema.REF_VS_ALGO_SCHEMA[_ALGORITHM] = json_schema()
    compression = schema.NNCF_CONFIG_SCHEMA["properties"]["compression"]
    forms = _one_of_lists(compression)
    reference = {"$ref": f"#/$defs/{_ALGORITHM}"}
    for form in forms:
        if reference not in form:
            form.append(reference)
    schema.NNCF_CONFIG_SCHEMA["properties"]["target_device"]["enum"].extend(OLDER_NAMES)


def _one_of_lists(node: Any) -> list[list[dict[str, str]]]:
    """Lists of algorithm references inside NNCF's schema of ``compression``; one object may serve both of its forms."""
    if isinstance(node, dict):
        lists = [node["oneOf"]] if "oneOf" in node and all("$ref" in form for form in node["oneOf"]) else []
        return lists + [forms for value in node.values() for forms in _one_of_lists(value)]
    if isinstance(node, list):
        return [forms for value in node for forms in _one_of_lists(value)]
    return []


def _register_config_check() -> None:
    """Check our section before NNCF's schema does, whose message names neither field nor value."""
    from nncf import NNCFConfig

    from nncf_slb.config.section import validate_nncf_config

    nncf_validate: Callable[[dict[str, Any]], None] = NNCFConfig.validate

    def validate(loaded_json: dict[str, Any]) -> None:
        validate_nncf_config(loaded_json)
        nncf_validate(loaded_json)

    NNCFConfig.validate = staticmethod(validate)


def _register_model_check() -> None:
    """Look at a network that is about to be searched before NNCF does, whose errors name neither reason nor remedy."""
    from nncf.torch import model_creation

    from nncf_slb.config.devices import find_target_device
    from nncf_slb.config.section import find_slb_sections
    from nncf_slb.errors import SettingError, SLBError, printable
    from nncf_slb.hosts.nncf2.model_checks import prepare_model
    from nncf_slb.hosts.nncf2.planning import refuse_ignored_embeddings

    create: Callable[..., Any] = model_creation.create_nncf_network

    def create_nncf_network(model: Any, config: Any, *args: Any, **kwargs: Any) -> Any:
        if not find_slb_sections(config):
            return create(model, config, *args, **kwargs)
        if config.get("target_device") in OLDER_NAMES:  # which NNCF's own algorithms do not know
            config["target_device"] = find_target_device(config["target_device"])
        prepare_model(model, config)
        try:
            network = create(model, config, *args, **kwargs)
        except SLBError:
            raise
        except (RuntimeError, TypeError, MemoryError) as error:  # the network's own, on what NNCF runs it with
            raise SettingError(
                f"input_info: the network does not run on it, or on another example ({type(error).__name__}: "
                f"{printable(error)}); give what the network takes"
            ) from error
        refuse_ignored_embeddings(network, config)
        return network

    model_creation.create_nncf_network = create_nncf_network


def _register_statistics() -> None:
    """Give `NNCFStatistics` a field for this algorithm: composites register each child's statistics by name."""
    from nncf.common.statistics import NNCFStatistics

    from nncf_slb.hosts.nncf2.statistics import SLBStatistics

    @dataclasses.dataclass
    class WithSLB:
        slb: SLBStatistics | None = None

    NNCFStatistics.__dataclass_fields__[_ALGORITHM] = WithSLB.__dataclass_fields__[_ALGORITHM]
    setattr(NNCFStatistics, _ALGORITHM, None)


def _register_export() -> None:
    """Let a composite that holds ``slb`` export as slb does: NNCF's writes ONNX with float weights under any name."""
    from nncf.torch.composite_compression import PTCompositeCompressionAlgorithmController as Composite

    from nncf_slb.hosts.exporting import export_controller

    shipped: Callable[..., None] = Composite.export_model

    def export_model(
        self: Any,
        save_path: str,
        save_format: str | None = None,
        input_names: list[str] | None = None,
        output_names: list[str] | None = None,
        model_args: tuple[Any, ...] | None = None,
    ) -> None:
        export = export_controller if any(child.name == _ALGORITHM for child in self.child_ctrls) else shipped
        export(self, save_path, save_format, input_names, output_names, model_args)

    Composite.export_model = export_model


def _register_compression_rate() -> None:
    """Let a composite that holds ``slb`` tell the mean of its parts' compression rates: NNCF's is always 0."""
    from nncf.torch.composite_compression import PTCompositeCompressionAlgorithmController as Composite

    shipped = Composite.compression_rate

    def compression_rate(self: Any) -> Any:
        rates = [child.compression_rate for child in self.child_ctrls]
        stated = [rate for rate in rates if rate is not None]
        if not any(child.name == _ALGORITHM for child in self.child_ctrls):
            return shipped.fget(self)
        return sum(stated) / len(stated)

    Composite.compression_rate = shipped.getter(compression_rate)


def _say_what_to_compile() -> None:
    """Where NNCF refuses to compile a network that slb searches, say which host allows it."""
    import torch
    from nncf.torch.nncf_network import NNCFNetwork

    from nncf_slb.hosts.model_checks import ModelError
    from nncf_slb.hosts.nncf2.network import searchable_operands

    compile_or_refuse = torch.compile

    @functools.wraps(compile_or_refuse)
    def explain(model: Any = None, **settings: Any) -> Any:
        if isinstance(model, NNCFNetwork) and searchable_operands(model):
            raise ModelError(
                "torch.compile: received a network that NNCF 2.19 has built, which it does not compile; allowed is the "
                'same search with host="torch" in nncf_slb.create_compressed_model, or what strip() gives'
            )
        return compile_or_refuse(model, **settings)

    torch.compile = explain
