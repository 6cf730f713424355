"""Which hosts are installed, and registration with NNCF as soon as it is loaded."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from nncf_slb.errors import SLBError

_BUILDERS = (2, 19)  # the last NNCF with the builder/controller API
_HOOKS, _TOO_NEW = (3, 0), (4, 0)
TRACING = "NNCF_TORCH_LEGACY_TRACING"  # switches NNCF 2.19 to the tracing that its builder/controller API needs
INSTALL_BUILDERS = "pip install 'nncf>=2.19,<2.20'"
INSTALL_HOOKS = "pip install 'nncf>=3.4,<4'"

logger = logging.getLogger("nncf_slb")


class MissingHostError(SLBError, ImportError):
    """A part of the package was asked for that needs a host which is not installed, or not in the right mode."""


def _installed_nncf() -> str | None:
    try:
        return metadata.version("nncf")
    except metadata.PackageNotFoundError:
        return None


def _version() -> tuple[int, ...]:
    """First two numbers of NNCF's version; empty without NNCF."""
    numbers = re.match(r"(\d+)\.(\d+)", _installed_nncf() or "")
    return () if numbers is None else tuple(map(int, numbers.groups()))


def has_nncf() -> bool:
    """Whether NNCF 2.19 is installed."""
    return _version() == _BUILDERS


def _has_other_mode() -> bool:
    """Whether NNCF 2.19 was loaded without the tracing that its builders need; it stays so in this process."""
    patching = sys.modules.get("nncf.torch.dynamic_graph.patch_pytorch_state")
    return "nncf.torch" in sys.modules and not (patching and patching.PATCHING_STATE.operators_are_wrapped)


def has_builders() -> bool:
    """Whether NNCF's builder/controller API is installed and can be used in this process."""
    return has_nncf() and not _has_other_mode()


def has_function_hooks() -> bool:
    """Whether NNCF's function hooks are installed and can be used in this process."""
    return _HOOKS <= _version() < _TOO_NEW or (has_nncf() and _has_other_mode())


def require_nncf() -> None:
    """Check that NNCF 2.19 is installed.

    Raises:
        MissingHostError: If it is not.
    """
    if not has_nncf():
        raise MissingHostError(
            "this part of nncf_slb needs NNCF 2.19, the last version with its builder/controller API; found "
            f"{_installed_nncf() or 'none'}. Install it with: {INSTALL_BUILDERS}, or use "
            "nncf_slb.create_compressed_model, which takes the same config without it"
        )


def load_nncf() -> None:
    """Load NNCF 2.19, which registers the algorithm, before modules that need it.

    Raises:
        MissingHostError: If it is not installed as a whole, or was loaded in the mode without builders.
    """
    require_nncf()
    if _has_other_mode():
        raise MissingHostError(f"{_OTHER_MODE}. {_REMEDY}")
    _import_nncf("nncf.torch", INSTALL_BUILDERS)


def _import_nncf(name: str, install: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError as error:  # half installed
        raise MissingHostError(
            f"NNCF {_installed_nncf()} is installed, but {name} cannot be imported ({error}). Install it anew with: "
            f"{install}"
        ) from error


def require_function_hooks() -> None:
    """Check that NNCF's function hooks can be used.

    Raises:
        MissingHostError: If they cannot.
    """
    if has_nncf() and not has_function_hooks():
        raise MissingHostError(
            "the host nncf3 needs NNCF 3, or NNCF 2.19 loaded without its legacy tracing, which importing nncf_slb "
            f"switches on; found {_installed_nncf()}. Install NNCF 3 with: {INSTALL_HOOKS}, put 'import nncf.torch' "
            "above 'import nncf_slb', or use the host nncf2"
        )
    if not has_function_hooks():
        raise MissingHostError(
            f"the host nncf3 needs NNCF 3; found {_installed_nncf() or 'none'}. Install it with: {INSTALL_HOOKS}, or "
            "use the host torch, which needs no NNCF"
        )
    _import_nncf("nncf.torch.function_hook", INSTALL_HOOKS)


_OTHER_MODE = (
    f"nncf.torch was imported before nncf_slb and without {TRACING}=1, so nncf.torch.create_compressed_model does not "
    "work in this process"
)
_REMEDY = (
    "Put 'import nncf_slb' above every import of nncf.torch, or set "
    f"{TRACING}=1 in the environment, and start again; or use nncf_slb.create_compressed_model, which works by "
    "function hooks then"
)


class _AfterLoading(MetaPathFinder):
    """Registers with NNCF when it has been loaded: loading it takes seconds, which not all users need.

    The config's part comes behind `nncf`, the algorithm's behind `nncf.torch`, so that neither loads the other while it
    is being loaded itself, perhaps by another thread.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Spec of NNCF with the registration behind its loading; None for any other module."""
        if name not in _REGISTRATIONS:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                _REGISTRATIONS[name]()

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def _register_config() -> None:
    from nncf_slb.hosts.nncf2.registration import register_config

    register_config()


def _register_algorithm() -> None:
    from nncf_slb.hosts.nncf2.registration import register_algorithm

    register_algorithm()


_REGISTRATIONS: dict[str, Callable[[], None]] = {"nncf": _register_config, "nncf.torch": _register_algorithm}


def register_with_nncf() -> None:
    """Register ``slb`` with NNCF 2.19: now if it is loaded, else as soon as it is; without it, do nothing."""
    if not has_nncf():
        return
    if "nncf" in sys.modules:
        _register_config()
    if _has_other_mode():
        logger.warning("slb: %s. %s", _OTHER_MODE, _REMEDY)
        return
    if "nncf.torch" in sys.modules:
        _register_algorithm()
    os.environ[TRACING] = "1"
    if not any(isinstance(finder, _AfterLoading) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterLoading())
