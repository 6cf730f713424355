"""Which hosts are installed, and registration with NNCF as soon as it is loaded."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from nncf_slb.errors import SLBError

_NNCF = (2, 19)
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


class _AfterNNCF(MetaPathFinder):
    """Registers the algorithm when NNCF has been imported: importing NNCF takes seconds, which not all users need."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Spec of NNCF with the registration behind its loading; None for any other module."""
        if name != "nncf":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module: ModuleType) -> None:
                load(module)
                _register()

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def register_with_nncf() -> None:
    """Register ``slb`` with NNCF 2.19: now if it is loaded, else as soon as it is; without it, do nothing.

    Raises:
        ImportError: If `nncf.torch` was loaded in a mode that has no builder/controller API.
    """
    if not _is_right(_installed_nncf()):
        return
    if "nncf" in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterNNCF) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterNNCF())


def _register() -> None:
    from nncf_slb.hosts.nncf2.registration import prepare_environment, register

    prepare_environment()
    register()
