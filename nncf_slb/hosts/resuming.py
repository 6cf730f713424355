"""Bits from the compression state of a checkpoint, also of one that another host wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nncf_slb.bits.choice import ChosenBits
from nncf_slb.config.errors import ConfigError
from nncf_slb.errors import SettingError
from nncf_slb.search.searchable import SearchableWeight

_NAME = "slb"


def state_of_slb(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a compression state that says what was chosen when the network was created.

    Raises:
        SettingError: If it is no compression state of slb.
    """
    try:
        chosen = state["builder_state"][_NAME]
        state["ctrl_state"][_NAME]["scheduler_state"]["current_epoch"]
    except (KeyError, TypeError):
        raise SettingError(
            f"compression_state: received {type(state).__name__} without the state of slb; allowed is what "
            "get_compression_state() gave"
        ) from None
    return chosen  # type: ignore[no-any-return]


def meanings(weights: Mapping[str, SearchableWeight]) -> dict[str, Any]:
    """What a state dict of searched weights means, by the host's names: the same numbers mean others elsewhere."""
    return {
        name: {"values": list(weight.values.table), "step": weight.values.step, "sharpness": weight.kind[2]}
        for name, weight in weights.items()
    }


def refuse_other_meanings(state: Mapping[str, Any], weights: Mapping[str, SearchableWeight], where: str) -> None:
    """Check that searched weights mean what those of a compression state did.

    Args:
        state: The part of slb, as from `state_of_slb`.
        weights: Searched weights by this host's names.
        where: Path of the section, for messages.

    Raises:
        ConfigError: With a line for each layer and setting that differ.
    """
    before = state.get("meanings", {})
    by_path = {plain_path(name): meaning for name, meaning in before.items()}
    problems = []
    for name, meaning in meanings(weights).items():
        stored = before.get(name) or by_path.get(plain_path(name)) or meaning
        for setting, place in (("values", "weights.values and bits"), ("step", "weights.values and bits"),
                               ("sharpness", "initializer.sharpness")):  # fmt: skip
            if stored[setting] != meaning[setting]:
                problems.append(
                    f"{where}.{place}: received {setting} {meaning[setting]} for {name}, and a compression state with "
                    f"{stored[setting]}; allowed: the same. Use the config that the checkpoint was made with"
                )
    if problems:
        raise ConfigError(problems)


def plain_path(name: str) -> str:
    """Path of a module from NNCF 2.19's name of its node: ``Net/NNCFConv2d[conv]/conv2d_0`` is ``conv``."""
    return ".".join(re.findall(r"\[([^\]]+)\]", name)) or name


def bits_by_path(bits: Mapping[str, int], paths: Iterable[str]) -> dict[str, int]:
    """Bits by this host's names, from those of any host; names that mean no layer here are left out."""
    known = set(paths)
    renamed = {name if name in known else plain_path(name): number for name, number in bits.items()}
    return {name: number for name, number in renamed.items() if name in known}


def chosen_bits(state: Mapping[str, Any], paths: Iterable[str], needed: Iterable[str], where: str) -> ChosenBits:
    """Bits that a compression state holds.

    Args:
        state: The compression state.
        paths: This host's names of the layers.
        needed: Those whose bits are ``auto``.
        where: Path of ``weights`` in the config, for messages.

    Raises:
        ConfigError: Naming the layers that the state holds no bits for.
        SettingError: If it is no compression state of slb.
    """
    chosen = ChosenBits.from_state(state_of_slb(state))
    bits = bits_by_path(chosen.bits, paths)
    refuse_missing(bits, needed, where)
    return ChosenBits(bits, chosen.sensitivities)


def refuse_missing(bits: Mapping[str, int], needed: Iterable[str], where: str) -> None:
    """Check that a state holds the bits of all layers that need them; arguments and error as for `chosen_bits`."""
    missing = [name for name in needed if name not in bits]
    if missing:
        raise ConfigError([
            f'{where}.bits: received "auto" and a compression state without bits for {", ".join(missing)}; allowed: '
            "the state of a model that was created with the same layers and bits. Use the config that the checkpoint "
            "was made with"
        ])  # fmt: skip
