"""What a network is run with while a search is put into it: data, and one example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nncf_slb.errors import DataError, SettingError
from nncf_slb.hosts.compression import Compression
from nncf_slb.openvino.call_form import Arguments, arguments_of
from nncf_slb.search.batches import Batches, Inputs, run_on

_FILLERS = {"ones": torch.ones, "zeros": torch.zeros, "random": torch.rand}


@dataclass(frozen=True)
class Data:
    """Data and an example.

    Attributes:
        batches: Those of the data loader; None without one.
        length: Batches in the loader; None without one, or where it does not say.
        example: Positional and keyword arguments of the network; None where nothing gives any.
        source: Where the example is from: ``example_input``, ``input_info`` or ``loader``.
    """

    batches: Batches | None
    length: int | None
    example: Arguments | None
    source: str = "loader"

    @staticmethod
    def of(loader: Iterable[Any] | None, inputs: Inputs, example_input: Any, compression: Compression) -> Data:
        """From the arguments of `create_compressed_model`: the example, else ``input_info``, else the first batch.

        Raises:
            DataError: If the loader gives no batch, or fails.
            SettingError: If ``input_info`` is too large.
        """
        example, source = None, "loader"
        if example_input is not None:
            example, source = arguments_of(example_input), "example_input"
        elif compression.input_info:
            example, source = _from_input_info(compression.input_info), "input_info"
        batches = None if loader is None else Batches(loader, inputs, _batch_size(loader))
        if batches is not None:
            first = first_batch(batches)
            example = example or inputs(first)
        return Data(batches, _length(loader), example, source)

    def run_example(self, model: nn.Module) -> Any:
        """Outputs of a network on its device for the example."""
        return run_on(next(model.parameters()).device, model, self.example)


def first_batch(batches: Batches) -> Any:
    """The first batch of a loader.

    Raises:
        DataError: If there is none, or the loader fails.
    """
    try:
        for batch in batches.take(1):
            batches.inputs(batch)
            return batch
    except Exception as error:  # whatever the user's loader raises
        raise DataError(f"loader: it fails at the first batch ({type(error).__name__}: {error})") from error
    raise DataError("loader: received one that gives no batch; allowed is one with training data, or None")


def _batch_size(loader: Any) -> int | None:
    size = getattr(loader, "batch_size", None)
    return size if isinstance(size, int) else None


def _length(loader: Any) -> int | None:
    try:
        return None if loader is None else len(loader)
    except (TypeError, NotImplementedError):
        return None


def _from_input_info(inputs: list[Mapping[str, Any]]) -> Arguments:
    args, kwargs = [], {}
    for info in inputs:
        shape = tuple(int(size) for size in info["sample_size"])
        try:
            tensor = _FILLERS[info.get("filler", "ones")](shape)
        except (RuntimeError, MemoryError) as error:  # torch's, on sizes that it cannot count or hold
            raise SettingError(
                f"input_info.sample_size: received {list(shape)}; allowed: what the memory holds. Change it"
            ) from error
        tensor = tensor.long() if info.get("type") == "long" else tensor
        if info.get("keyword"):
            kwargs[info["keyword"]] = tensor
        else:
            args.append(tensor)
    return tuple(args), kwargs
