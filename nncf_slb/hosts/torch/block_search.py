"""A search without labels that trains one block of the network after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from nncf_slb.errors import SettingError
from nncf_slb.hosts.torch.planning import Plan
from nncf_slb.hosts.torch.search import Inserted
from nncf_slb.search.blocks import Block, BlockInputs, find_blocks
from nncf_slb.search.matched_batchnorm import calibrate_to_target
from nncf_slb.search.outputs import have_no_positions
from nncf_slb.search.reconstruction import Recipe, Reconstruction
from nncf_slb.search.searchable import SearchableWeight

# The error of a block has an exact optimum between values. Beside 50, which serves whole networks, weights are decided
# earlier: divergence from the float network 12.3 instead of 14.1 at 2 bits, and 48.8 instead of 56.7 at 1 bit (0.001
# nats, small ResNet, validation, 400 steps a block, 2026-11-30).
_INVERSE_TEMPERATURE_END = 200.0


class BlockSearch:
    """The blocks of a network into which a search has been put.

    Args:
        target: Float network in eval mode.
        searched: The copy with the search.
        inserted: What was put into it.
        plan: What becomes of each layer.
        run: Runs a network on a batch.
        recipe: How to train each block.
        samples: Batches of one sample, two where there are as many.

    Attributes:
        blocks: In the order in which they run.
        recipe: How each is trained.
    """

    def __init__(
        self, target: nn.Module, searched: nn.Module, inserted: Inserted, plan: Plan,
        run: Callable[[nn.Module, Any], Any], recipe: Recipe, samples: Sequence[Any],
    ) -> None:  # fmt: skip
        self._target, self._searched, self._inserted, self._run = target, searched, inserted, run
        self._observed = [layer.observed for layer in plan.searched.values() if layer.observed]
        with torch.no_grad():
            counts_means = have_no_positions(run(target, samples[0]))
        self.recipe = replace(
            recipe, is_block=True, counts_means=counts_means, inverse_temperature_end=_INVERSE_TEMPERATURE_END
        )
        layers = [layer.path.rpartition(".")[0] if layer.function else layer.path for layer in plan.searched.values()]
        self.blocks = find_blocks(target, searched, layers, [partial(run, target, sample) for sample in samples])

    @property
    def activation_bytes(self) -> int:
        """Bytes of the outputs of all innermost modules of the largest block, for the first sample."""
        return max(block.activation_bytes for block in self.blocks)

    @contextmanager
    def opened(self, block: Block, batches: Iterable[Any]) -> Iterator[tuple[Reconstruction, BlockInputs]]:
        """Training of a block, and what the block is called with; on leaving, its batch norm is calibrated.

        Args:
            block: The block; all before it are discrete.
            batches: Batches of the whole network.

        Raises:
            SettingError: If there is no room for the inputs.
        """
        module, target = (network.get_submodule(block.path) for network in (self._searched, self._target))
        inputs = BlockInputs(self._target, self._searched, block, self._run)
        search = self._inserted.search
        try:
            self._searched.eval()
            self._fill(inputs, batches)
            with search.only(each for each in module.modules() if isinstance(each, SearchableWeight)):
                observed = self._within(block.path)
                yield Reconstruction(module, target, search, observed, inputs.run_block, self.recipe), inputs
            calibrate_to_target(module, target, inputs.run_block, (inputs[index] for index in range(len(inputs))))
        finally:
            inputs.close()

    @staticmethod
    def _fill(inputs: BlockInputs, batches: Iterable[Any]) -> None:
        try:
            for batch in batches:
                inputs.add(batch)
        except OSError as error:
            raise SettingError(
                f'granularity: received "block", and the inputs of block {inputs.block.path} do not fit into the '
                f"folder of temporary files ({error}); allowed with more room. Set TMPDIR to another folder, or give "
                "fewer samples"
            ) from error

    def _within(self, path: str) -> list[str]:
        """Observed modules of a block, seen from it; the block itself counts as its output."""
        inside = [each for each in self._observed if not path or each.startswith(f"{path}.")]
        return [each.removeprefix(f"{path}.") if path else each for each in inside]


def shuffled(inputs: BlockInputs, numbers: torch.Generator) -> Iterator[Any]:
    """What was kept for all batches, in random order."""
    for index in torch.randperm(len(inputs), generator=numbers).tolist():
        yield inputs[index]
