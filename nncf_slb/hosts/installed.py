"""Which hosts are installed, and registration with NNCF as soon as it is loaded."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from nncf_slb.errors import SLBError

_NNCF = (2, 19)
TRACING = "NNCF_TORCH_LEGACY_TRACING"  # switches NNCF to the tracing that its builder/controller API needs
INSTALL_NNCF = "pip install 'nncf>=2.19,<2.20'"


class MissingHostError(SLBError, ImportError):
    """A part of the package was asked for that needs a host which is not installed."""


def _installed_nncf() -> str | None:
    try:
        return metadata.version("nncf")
    except metadata.PackageNotFoundError:
        return None


def _is_right(version: str | None) -> bool:
    return version is not None and tuple(int(part) for part in version.split(".")[:2]) == _NNCF


def has_nncf() -> bool:
    """Whether NNCF 2.19 is installed."""
    return _is_right(_installed_nncf())


def require_nncf() -> None:
    """Check that NNCF 2.19 is installed.

    Raises:
        MissingHostError: If it is not.
    """
    version = _installed_nncf()
    if not _is_right(version):
        raise MissingHostError(
            "this part of nncf_slb needs NNCF 2.19, the last version with create_compressed_model and its "
            f"builder/controller API; found {version or 'none'}. Install it with: {INSTALL_NNCF}"
        )


def load_nncf() -> None:
    """Load NNCF 2.19, which registers the algorithm, before modules that need it.

    Raises:
        MissingHostError: If it is not installed.
    """
    require_nncf()
    importlib.import_module("nncf.torch")


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
    """Register ``slb`` with NNCF 2.19: now if it is loaded, else as soon as it is; without it, do nothing.

    Raises:
        ImportError: If `nncf.torch` was loaded in a mode that has no builder/controller API.
    """
    if not has_nncf():
        return
    if "nncf.torch" in sys.modules:
        _register_algorithm()
    os.environ[TRACING] = "1"
    if "nncf" in sys.modules:
        _register_config()
    if not any(isinstance(finder, _AfterLoading) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterLoading())
