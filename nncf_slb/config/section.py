"""The ``"slb"`` section of an NNCF config: one pydantic model for its fields, defaults, checks, schema and reference.

Imports neither torch nor NNCF.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError

from nncf_slb.config.activations import FULL_PRECISION, ActivationsConfig, ResolvedActivations
from nncf_slb.config.devices import BinaryConvolution, LinearChoice, OnnxTypes
from nncf_slb.config.errors import ConfigError, Contradiction, dotted, explain, received, structure_problems
from nncf_slb.config.fields import LARGEST_COUNT, SCOPE_HELP, LearningRateFactor, Scopes, Section, whole
from nncf_slb.config.schema import inlined_schema
from nncf_slb.config.training import DEFAULT_EPOCHS, InitializerConfig, ParamsConfig
from nncf_slb.config.weights import ResolvedWeights, WeightsConfig

__all__ = [
    "FULL_PRECISION",
    "ConfigError",
    "OnnxConfig",
    "OpenVINOConfig",
    "ResolvedActivations",
    "ResolvedWeights",
    "SLBConfig",
    "find_slb_sections",
    "json_schema",
    "parse_slb_config",
    "scope_list",
    "total_epochs",
    "validate_nncf_config",
]

_ACCURACY_AWARE = "accuracy_aware_training"
_INITIAL_PHASE_EPOCHS = 5  # NNCF's default of initial_training_phase_epochs


class OpenVINOConfig(Section):
    """How the network is lowered to OpenVINO; `target_device` at the config's top level says for which device."""

    binary_convolution: BinaryConvolution = Field(
        default="auto",
        description="Whether convolutions with 1-bit weights and 1-bit inputs run as XNOR and popcount on the CPU. "
        "`auto` does it wherever a layer can: the file is the same on every machine that exports it. A network with "
        "binary convolutions has a fixed batch size. `never` uses 8-bit convolutions; `always` makes it an error if a "
        "1-bit layer with 1-bit inputs has no binary form.",
    )
    linear: LinearChoice = Field(
        default="exact",
        description="How Linear layers with 32-bit inputs run on the CPU. Their weights stay packed at run time, in 2 "
        "or 4 bits each. `exact` equals PyTorch. `fastest` lets the CPU round the inputs to 8 bits as it runs, as in "
        "NNCF's 8-bit files: 2 to 4 times as fast with large layers and batch 1.",
    )
    dry_export: bool = Field(
        default=True,
        description="Whether the untrained network is exported once when the compressed model is created, in memory "
        "only, so that what OpenVINO cannot take is an error before training. The log says how long it took.",
    )


class OnnxConfig(Section):
    """How ONNX files are written."""

    types: OnnxTypes = Field(
        default="planes",
        description="How codes are stored. `planes`: bits in uint8, which any runtime reads since opset 18. `native`: "
        "UINT4 (opset 21), or UINT2 (opset 25) for 1 and 2 bits.",
    )
    contrib: bool = Field(
        default=False,
        description="Whether Linear layers with 32-bit inputs become ONNX Runtime's `MatMulNBits`, whose weights stay "
        "in 2 or 4 bits while it runs. It rounds the inputs to 8 bits, so results no longer equal PyTorch's.",
    )


class SLBConfig(Section):
    """The ``"slb"`` section of an NNCF config."""

    algorithm: Literal["slb"] = Field(description="Name of the algorithm.")
    weights: WeightsConfig = Field(
        default_factory=WeightsConfig, description="Which values the weights can take, for all layers or for some."
    )
    activations: ActivationsConfig = Field(
        default_factory=ActivationsConfig, description="How the inputs of the searched layers are quantized."
    )
    initializer: InitializerConfig = Field(default_factory=InitializerConfig, description="Where the search begins.")
    params: ParamsConfig = Field(default_factory=ParamsConfig, description="How the search runs during training.")
    openvino: OpenVINOConfig = Field(
        default_factory=OpenVINOConfig, description="How the network is lowered to OpenVINO."
    )
    onnx: OnnxConfig = Field(default_factory=OnnxConfig, description="How ONNX files are written.")
    ignored_scopes: Scopes | None = Field(default=None, description=f"Layers left out of the search, {SCOPE_HELP}")
    target_scopes: Scopes | None = Field(
        default=None, description=f"Layers to search, {SCOPE_HELP} If left out: all layers with weights."
    )
    validate_scopes: bool = Field(default=True, description="Whether scopes that match no layer are an error.")
    compression_lr_multiplier: LearningRateFactor | None = Field(
        default=None, description="Factor of the gradients of the searched weights' parameters. If left out: 1."
    )


def json_schema() -> dict[str, Any]:
    """JSON schema of the section, without ``$ref``, so that it can stand inside another schema."""
    return inlined_schema(SLBConfig)


def parse_slb_config(section: Mapping[str, Any], path: str = "compression") -> SLBConfig:
    """Check a section and fill in its defaults.

    Args:
        section: The section as loaded from JSON.
        path: Where the section stands in the config, for error messages.

    Raises:
        ConfigError: With every problem of the section.
    """
    if problems := structure_problems(section, path):
        raise ConfigError(problems)
    try:
        return SLBConfig.model_validate(dict(section) if isinstance(section, Mapping) else section)
    except ValidationError as error:
        schema = json_schema()
        problems = [line for detail in error.errors() for line in explain(schema, detail, section, path)]
    raise ConfigError(problems)


def find_slb_sections(nncf_config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Path and contents of every ``"slb"`` section of an NNCF config."""
    compression = nncf_config.get("compression")
    sections = [("compression", compression)]
    if isinstance(compression, list | tuple):
        sections = [(f"compression[{index}]", section) for index, section in enumerate(compression)]
    return [
        (path, section)
        for path, section in sections
        if isinstance(section, Mapping) and section.get("algorithm") == "slb"
    ]


def total_epochs(nncf_config: Mapping[str, Any]) -> int:
    """Training epochs that an NNCF config states, else the default."""
    return _epochs(nncf_config) or DEFAULT_EPOCHS


def _epochs(nncf_config: Mapping[str, Any]) -> int | None:
    """Training epochs that an NNCF config states, or its accuracy-aware loop where these are fewer; None for none."""
    stated = (_whole_or_none(nncf_config.get("epochs")), _epochs_of_loop(nncf_config))
    return min((epochs for epochs in stated if epochs is not None), default=None)


def _epochs_of_loop(nncf_config: Mapping[str, Any]) -> int | None:
    """Epochs in which NNCF's accuracy-aware loop trains with the scheduler; None without one, or with no limit."""
    section = nncf_config.get(_ACCURACY_AWARE)
    params = section.get("params", {}) if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or not isinstance(params, Mapping):
        return None
    if section.get("mode") == "adaptive_compression_level":
        return _whole_or_none(params.get("initial_training_phase_epochs", _INITIAL_PHASE_EPOCHS))
    return _whole_or_none(params.get("maximal_total_epochs"))


def _whole_or_none(value: Any) -> int | None:
    number = whole(value)
    counts = isinstance(number, int) and not isinstance(number, bool) and 0 < number <= LARGEST_COUNT
    return number if counts else None


def scope_list(scopes: str | Sequence[str] | None) -> list[str]:
    """Scopes of an NNCF config, which may stand alone, in a list or not at all."""
    return [scopes] if isinstance(scopes, str) else list(scopes or [])


def validate_nncf_config(nncf_config: Mapping[str, Any]) -> None:
    """Check every ``"slb"`` section of an NNCF config; other algorithms are left alone.

    Raises:
        ConfigError: With every problem of every section, or if there are two of them.
    """
    sections = find_slb_sections(nncf_config)
    problems = [
        f'{path}: received a second "slb" section; allowed: one. Use weights.overrides of {sections[0][0]} for layers '
        "with other settings"
        for path, _ in sections[1:]
    ]
    for path, section in sections:
        try:
            config = parse_slb_config(section, path)
        except ConfigError as error:
            problems += error.problems
            continue
        contradictions = _contradictions_outside(config, nncf_config)
        problems += [
            f"{path}{dotted(location)}: received {received(section, location)}; allowed: {allowed}. {advice}"
            for location, allowed, advice in contradictions
        ]
    if problems:
        raise ConfigError(problems)


def _contradictions_outside(config: SLBConfig, nncf_config: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Contradictions between a section and what stands outside it."""
    loop = _epochs_of_loop(nncf_config)
    if loop is not None and (config.params.epochs or 0) > loop:
        allowed = f"at most {loop}, the epochs that {_ACCURACY_AWARE} trains with a scheduler"
        yield ("params", "epochs"), allowed, "Lower it, or leave it out"
    for location, allowed, advice in config.params.range_contradiction(_epochs(nncf_config)):
        yield ("params", *location), allowed, advice
    if config.initializer.reconstruction is not None and config.params.descent == "gradient":
        allowed = 'none with params.descent "gradient"'
        yield ("initializer", "reconstruction"), allowed, "Remove it, or remove descent"
    device, budget = nncf_config.get("target_device"), config.weights.budget
    if budget is not None and budget.bytes is not None and device not in (None, "CPU", "CPU_SPR"):
        allowed = f"mean_bits instead with target_device {device}, whose files hold every code in 4 bits"
        yield ("weights", "budget", "bytes"), allowed, "Use mean_bits, or target_device CPU"
