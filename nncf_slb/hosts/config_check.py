"""A whole NNCF config: slb's section, those of NNCF's own algorithms by NNCF's schema, and the keys outside them.

NNCF takes seconds to load, so its schema is read only where a config needs it, and where NNCF is installed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from nncf_slb.config.devices import find_target_device
from nncf_slb.config.errors import as_json, dotted, shown, structure_problems
from nncf_slb.config.outside import outside_problems
from nncf_slb.config.patterns import scope_problem
from nncf_slb.config.section import ConfigError, find_slb_sections, validate_nncf_config
from nncf_slb.errors import printable
from nncf_slb.hosts.installed import has_nncf

_SLB = "slb"
_SCOPE_KEYS = ("ignored_scopes", "target_scopes")
_COUNT_KEYS = ("num_init_samples", "num_bn_adaptation_samples")  # of which NNCF's schema asks only to be numbers
_TYPES = {
    "number": "a number", "integer": "an integer", "string": "a string", "boolean": "true or false",
    "object": "an object", "array": "a list",
}  # fmt: skip


class WholeConfigError(ConfigError):
    """Everything wrong with a config, one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        self.args = ("\n- ".join([f"{count} in the config:", *problems]),)


def config_problems(config: Mapping[str, Any]) -> list[str]:
    """A line for each problem of a config for any program that uses NNCF."""
    return structure_problems(config) or [*outside_problems(config), *algorithm_problems(config)]


def algorithm_problems(config: Mapping[str, Any]) -> list[str]:
    """A line for each problem of the algorithms' sections, and of what must fit to them."""
    problems: list[str] = []
    try:
        validate_nncf_config(config)
    except ConfigError as error:
        problems += error.problems
    compression = config.get("compression")
    sections = list(enumerate(compression)) if isinstance(compression, list | tuple) else [(None, compression)]
    problems += _repeated_algorithms([section for _, section in sections])
    for index, section in sections:
        if isinstance(section, Mapping) and "algorithm" in section and section["algorithm"] != _SLB:
            problems += _section_problems(section, "compression" if index is None else f"compression[{index}]")
    accuracy_aware = config.get("accuracy_aware_training")
    if isinstance(accuracy_aware, Mapping) and has_nncf():
        from nncf.config.schema import ACCURACY_AWARE_TRAINING_SCHEMA

        problems += _schema_problems(ACCURACY_AWARE_TRAINING_SCHEMA, accuracy_aware, "accuracy_aware_training")
    if find_slb_sections(config) and config.get("target_device") == "TRIAL":  # which NNCF knows and slb does not
        try:
            find_target_device("TRIAL")
        except ValueError as error:
            problems.append(str(error))
    return problems


def _section_problems(section: Mapping[str, Any], path: str) -> list[str]:
    if not has_nncf():
        return list(_value_problems(section, path))
    from nncf.config.schema import REF_VS_ALGO_SCHEMA

    names = sorted({*REF_VS_ALGO_SCHEMA, _SLB})
    name = section["algorithm"]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1) if isinstance(name, str) else []
        advice = f'Did you mean "{near[0]}"?' if near else "Change it"
        return [f"{path}.algorithm: received {shown(name)}; allowed: one of {', '.join(names)}. {advice}"]
    return [*_schema_problems(REF_VS_ALGO_SCHEMA[name], section, path), *_value_problems(section, path)]


def _repeated_algorithms(sections: list[Any]) -> Iterator[str]:
    names = [section.get("algorithm") for section in sections if isinstance(section, Mapping)]
    for name in dict.fromkeys(name for name in names if isinstance(name, str) and name != _SLB):
        if names.count(name) > 1:
            yield f'compression: received {names.count(name)} sections "{name}"; allowed: one. Remove the others'


def _schema_problems(schema: Mapping[str, Any], section: Any, path: str) -> Iterator[str]:
    for problem in jsonschema.Draft7Validator(schema).iter_errors(section):
        error = jsonschema.exceptions.best_match([problem])
        place = path + dotted(tuple(error.absolute_path))
        if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
            keys = list(error.schema.get("properties", {}))
            for key in error.instance.keys() - set(keys):
                near = difflib.get_close_matches(key, keys, 1)
                advice = f"Unknown key: did you mean {near[0]}?" if near else "Unknown key: remove it"
                unknown = f"{place}.{printable(key)}: received an unknown key"
                yield f"{unknown}; allowed: the keys {', '.join(keys)}. {advice}"
        else:
            yield f"{place}: received {shown(error.instance)}; allowed: {_words(error)}. Change it"


def _words(error: jsonschema.ValidationError) -> str:
    """What NNCF's schema allows, in words where there are some."""
    allowed = error.validator_value
    if error.validator == "enum":
        return f"one of {', '.join(map(as_json, allowed))}"
    if error.validator == "type":
        return " or ".join(_TYPES.get(name, name) for name in ([allowed] if isinstance(allowed, str) else allowed))
    return f"what NNCF's schema does ({printable(error.message[:200])})"


def _value_problems(section: Any, path: str) -> Iterator[str]:
    """Values anywhere in a section that NNCF's schema lets pass and NNCF does not take."""
    for place, key, value in _fields(section, path):
        if key in _COUNT_KEYS and isinstance(value, int | float) and not (isinstance(value, int) and value >= 0):
            yield f"{place}: received {shown(value)}; allowed: an integer from 0 on. Change it"
    for place, scope in scopes_of(section, path):
        if problem := scope_problem(scope):
            yield f"{place}: received {shown(scope)}; allowed: {problem[0]}. {problem[1]}"


def _fields(node: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Path, key and value of everything in a section."""
    if isinstance(node, list | tuple):
        for index, part in enumerate(node):
            yield from _fields(part, f"{path}[{index}]")
    elif isinstance(node, Mapping):
        for key, value in node.items():
            place = f"{path}.{printable(key)}" if path else printable(key)
            yield place, key, value
            yield from _fields(value, place)


def scopes_of(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and text of each scope, anywhere in a config or section."""
    for place, key, value in _fields(config, path):
        if key in _SCOPE_KEYS and isinstance(value, str):
            yield place, value
        elif key in _SCOPE_KEYS and isinstance(value, list | tuple):
            yield from ((f"{place}[{index}]", scope) for index, scope in enumerate(value) if isinstance(scope, str))


def refused_by_nncf(config: Mapping[str, Any], message: str) -> list[str]:
    """Lines on what NNCF found wrong with a config once it knew the network."""
    lines = [
        f"{place}: received {as_json(scope)}, which no operation of the network matches; allowed: an operation's "
        "name, or {re} and a regular expression that finds some. Correct it, or set validate_scopes to false beside it"
        for place, scope in scopes_of(config)
        if "No match has been found" in message and repr(scope) in message
    ]
    return lines or [f"compression: NNCF cannot apply it to this network: {' '.join(message.split())}. Change it"]
