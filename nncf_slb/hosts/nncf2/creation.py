"""`create_compressed_model` by NNCF 2.19's own function."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import nncf
from nncf import NNCFConfig
from nncf.torch import create_compressed_model, register_default_init_args
from nncf.torch.initialization import PTInitializingDataLoader
from torch import nn

from nncf_slb.config.errors import dotted
from nncf_slb.errors import DataError, SettingError, SLBError, printable
from nncf_slb.hosts.compression import SLB, read_whole_config
from nncf_slb.hosts.config_check import WholeConfigError, config_problems, refused_by_nncf
from nncf_slb.hosts.inputs import first_batch
from nncf_slb.hosts.model_checks import ModelError, model_problems
from nncf_slb.hosts.resuming import refuse_other_algorithms, state_of_slb
from nncf_slb.openvino.call_form import arguments_of
from nncf_slb.search.batches import Batches, Inputs, first_of_batch, run_on
from nncf_slb.search.batchnorm import preserved_modes


class _Loader(PTInitializingDataLoader):  # type: ignore[misc]
    """A loader whose batches say themselves which arguments they hold."""

    def __init__(self, loader: Iterable[Any], inputs: Inputs) -> None:
        super().__init__(loader)
        self._inputs = inputs

    def __bool__(self) -> bool:
        return True  # NNCF asks, and a loader may have no length

    def get_inputs(self, dataloader_output: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return self._inputs(dataloader_output)

    def get_target(self, dataloader_output: Any) -> Any:
        return None


def _nncf_config(config: Mapping[str, Any] | str | os.PathLike[str]) -> NNCFConfig:
    """NNCF's form of a config.

    Raises:
        WholeConfigError: With every problem, or with NNCF's own reason.
    """
    whole = read_whole_config(config)
    if problems := config_problems(whole):
        raise WholeConfigError(problems)
    try:
        return NNCFConfig.from_dict(whole)
    except jsonschema.ValidationError as error:
        place = dotted(tuple(error.absolute_path)).removeprefix(".") or "config"
        reason = printable(error.message)[:200]
        raise WholeConfigError([f"{place}: received what NNCF does not take ({reason}). Change it"]) from error


def create(
    model: nn.Module,
    config: Mapping[str, Any] | str | os.PathLike[str],
    loader: Iterable[Any] | None,
    example_input: Any,
    inputs: Inputs,
    compression_state: Mapping[str, Any] | None,
) -> tuple[Any, nn.Module]:
    """See `nncf_slb.create_compressed_model`."""
    if problems := list(model_problems(model)):
        raise ModelError("\n".join(problems))
    own = config if isinstance(config, NNCFConfig) else _nncf_config(config)
    if loader is not None:
        with preserved_modes(model):
            _refuse_unusable(loader, inputs)
        own = register_default_init_args(own, loader if inputs is first_of_batch else _Loader(loader, inputs))
    run = None
    if example_input is not None:
        arguments = arguments_of(example_input)

        def run(network: nn.Module) -> Any:
            return run_on(next(network.parameters()).device, network, arguments)

    state = None if compression_state is None else _checked(compression_state, own)
    with preserved_modes(model):  # NNCF's tracing draws random numbers
        try:
            controller, network = create_compressed_model(model, own, state, dummy_forward_fn=run, dump_graphs=False)
        except SLBError:
            raise
        except Exception as error:  # NNCF's own share no class
            others = state is not None and set(state["builder_state"]) != {SLB}
            if others and not isinstance(error, nncf.ValidationError):
                raise SettingError(
                    f"compression_state: NNCF cannot read what it holds of its own algorithms ({type(error).__name__}: "
                    f"{error}); allowed is what get_compression_state() gave"
                ) from error
            if type(error).__module__.startswith("nncf.") or isinstance(error, ValueError):
                raise WholeConfigError(refused_by_nncf(own, str(error))) from error
            raise
    return controller, network


def _refuse_unusable(loader: Iterable[Any], inputs: Inputs) -> None:
    """Find out before NNCF, which raises whatever comes up.

    Raises:
        DataError: If the loader gives no batch, fails, or cannot be copied with the config that it is registered in.
    """
    if isinstance(loader, Iterator):
        raise DataError(
            f"loader: received {type(loader).__name__}, which runs once, and which NNCF 2.19 cannot copy with its "
            "config; allowed is a loader that can begin anew, such as torch.utils.data.DataLoader or a list of batches"
        )
    first_batch(Batches(loader, inputs))


def _checked(state: Mapping[str, Any], config: NNCFConfig) -> dict[str, Any]:
    """A compression state of a config's algorithms.

    Raises:
        SettingError: If it is none.
    """
    sections = config.get("compression", [])
    names = {section["algorithm"] for section in (sections if isinstance(sections, list) else [sections])}
    refuse_other_algorithms(state, names)
    if SLB in names:
        state_of_slb(state)
    return dict(state)
