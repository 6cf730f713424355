"""What every process of the zoo imports, once: Python's fork server imports it, and each process is a copy of that."""

from contextlib import suppress
from importlib import import_module

from benchmarks.zoo import worker  # noqa: F401  first: it prepares NNCF's environment
from benchmarks.zoo.networks import declare_torchvision_operators

declare_torchvision_operators()
for _name in ("torchvision", "timm.models", "pytorchcv.model_provider", "transformers"):
    with suppress(ImportError):
        import_module(_name)
