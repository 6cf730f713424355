"""What stands in a config outside `compression`: the keys that NNCF reads, and `epochs`, which slb reads.

A program that reads more keys describes them in a subclass of `TopLevelConfig`, as the samples do. Imports neither
torch nor NNCF.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from nncf_slb.config.errors import explain
from nncf_slb.config.fields import (
    LARGEST_COUNT,
    AsTuple,
    LearningRateFactor,
    OneMistake,
    PositiveWhole,
    Scopes,
    Section,
)
from nncf_slb.config.schema import inlined_schema
from nncf_slb.errors import printable

_ALIKE = 0.8  # keys this like one of NNCF's are taken for misspelled ones
Shape = Annotated[
    tuple[Annotated[int, Field(ge=1, le=LARGEST_COUNT)], ...],
    Field(min_length=1, json_schema_extra={"allowed": "a non-empty list of integers above 0"}),
    AsTuple,
    OneMistake,
]
_Sections = Annotated[tuple[dict[str, Any], ...], Field(min_length=1), AsTuple]


class InputInfo(Section):
    """An input of the network, for NNCF's tracing."""

    sample_size: Shape = Field(description="Shape of an input, with the batch.")
    type: Literal["float", "long"] = Field(default="float", description="Type of its numbers.")
    filler: Literal["ones", "zeros", "random"] = Field(default="ones", description="What it is filled with.")
    keyword: str = Field(default="", description="Name of the argument of `forward`, where it is no positional one.")


def _has_algorithm(section: dict[str, Any]) -> dict[str, Any]:
    if "algorithm" not in section:
        raise ValueError
    return section


_Algorithm = Annotated[dict[str, Any], AfterValidator(_has_algorithm)]
Inputs = Annotated[
    dict[str, Any] | _Sections,
    Field(json_schema_extra={"allowed": "an object with a sample_size, or a non-empty list of such objects"}),
    OneMistake,
]
Compression = Annotated[
    _Algorithm | Annotated[tuple[_Algorithm, ...], Field(min_length=1), AsTuple],
    Field(json_schema_extra={"allowed": 'an object with an "algorithm", or a non-empty list of such objects'}),
    OneMistake,
]


class TopLevelConfig(Section):
    """Keys at the top level of a config that NNCF 2.19 and slb read."""

    input_info: Inputs = Field(default={}, description="Inputs of the network: an `InputInfo`, or a list of them.")
    target_device: Literal["ANY", "CPU", "GPU", "NPU", "VPU", "TRIAL", "CPU_SPR"] = Field(
        default="ANY", description="Device that the network is for; `VPU` is the older name of `NPU`."
    )
    compression: Compression = Field(default={}, description="Algorithms; each is described in a section of its own.")
    accuracy_aware_training: dict[str, Any] = Field(
        default={}, description="NNCF's accuracy-aware training.", json_schema_extra={"allowed": "an object"}
    )
    compression_lr_multiplier: LearningRateFactor = Field(
        default=1.0, description="Factor of the gradients of the algorithms' parameters."
    )
    disable_shape_matching: bool = Field(default=False, description="Whether NNCF ignores shapes in its graph.")
    log_dir: str = Field(default=".", min_length=1, description="Folder of NNCF's logs.")
    ignored_scopes: Scopes = Field(default=(), description="Layers that all algorithms leave out.")
    target_scopes: Scopes = Field(default=(), description="Layers that the algorithms may change.")
    scopes_without_shape_matching: Scopes = Field(
        default=(), description="Layers whose shapes NNCF ignores in its graph."
    )
    epochs: PositiveWhole = Field(default=100, description="Training epochs.")


def section_problems(model: type[BaseModel], section: Any, path: str = "") -> list[str]:
    """A line for each problem of a section that a pydantic model describes.

    Args:
        model: The model.
        section: What stands in the config.
        path: Where it stands; empty for the top level.
    """
    try:
        model.model_validate(section)
    except ValidationError as error:
        schema = inlined_schema(model)
        lines = [line for problem in error.errors() for line in explain(schema, problem, section, path)]
        return [line.removeprefix(".") for line in lines]
    return []


def input_problems(config: Mapping[str, Any]) -> list[str]:
    """Problems inside ``input_info``."""
    inputs = config.get("input_info")
    if isinstance(inputs, Mapping):
        return section_problems(InputInfo, inputs, "input_info")
    named = enumerate(inputs) if isinstance(inputs, list | tuple) else ()
    return [line for index, section in named for line in section_problems(InputInfo, section, f"input_info[{index}]")]


def outside_problems(config: Mapping[str, Any]) -> list[str]:
    """Problems of the keys that NNCF and slb read; others belong to their reader, unless they are misspelled ones."""
    known = {key: value for key, value in config.items() if key in TopLevelConfig.model_fields}
    problems = section_problems(TopLevelConfig, known)
    problems += [] if any(problem.startswith("input_info: ") for problem in problems) else input_problems(config)
    for key in config.keys() - known.keys():
        for near in difflib.get_close_matches(key, TopLevelConfig.model_fields, 1, cutoff=_ALIKE):
            problems.append(f"{printable(key)}: received an unknown key. Did you mean {near}?")
    return problems
