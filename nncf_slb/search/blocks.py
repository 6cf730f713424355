"""Blocks of a network, and what goes into them: for a search that trains one block after the other.

Whole networks train best at once. A block at a time needs the activations of that block alone (Li et al., "BRECQ:
Pushing the Limit of Post-Training Quantization by Block Reconstruction", 2021).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_unflatten

from nncf_slb.search.hooks import hooked
from nncf_slb.search.outputs import floating_outputs

RunBatch = Callable[[nn.Module, Any], Any]
_LAYERS = 6
_SAME = 1e-3  # distance of two outputs of the same numbers, beside the outputs
_NEVER_RUN = (nn.ModuleList, nn.ModuleDict)
_STORED = (Tensor, type(None), bool, int, float, str)


class Block(NamedTuple):
    """A module that is searched by itself.

    Attributes:
        path: Its path in the network.
        calls: How often a pass of the network runs it.
        activation_bytes: Bytes of the outputs of its innermost modules.
    """

    path: str
    calls: int
    activation_bytes: int


@dataclass
class _Seen:
    """What a pass has shown of one module."""

    order: int
    calls: int = 0
    bytes: int = 0
    can_be_stored: bool = True


def find_blocks(
    target: nn.Module, searched: nn.Module, layers: Iterable[str], runs: Sequence[Callable[[], object]]
) -> list[Block]:
    """The largest modules with at most six of the layers, in the order in which they run.

    A module gives way to the module around it, in the end to the network, if it does not run as one, if its arguments
    cannot be kept, if it shares parameters with another block, or if it does not follow from its arguments: a decoder
    may read what an encoder has left in an attribute, which is then of another batch.

    Args:
        target: Float network.
        searched: Searched network.
        layers: Paths of modules whose weights are searched, the same in both.
        runs: Each runs the float network once on a small batch of its own.
    """
    layers = list(layers)
    seen = _observed(target, runs[0])
    paths = set(_largest(target, "", layers))
    while wrong := (
        {path for path in paths if path and (path not in seen or not seen[path].can_be_stored)}
        or _sharing(searched, paths)
        or _depending(target, paths, runs)
    ):
        paths = _outermost((paths - wrong) | {path.rpartition(".")[0] for path in wrong})
    blocks = [Block(path, seen[path].calls, seen[path].bytes) for path in paths]
    return sorted(blocks, key=lambda block: seen[block.path].order)


def _largest(module: nn.Module, path: str, layers: list[str]) -> Iterator[str]:
    inside = [layer for layer in layers if _is_within(layer, path)]
    if not inside:
        return
    if path in layers or (len(inside) <= _LAYERS and not isinstance(module, _NEVER_RUN)):
        yield path
        return
    for name, child in module.named_children():
        yield from _largest(child, f"{path}.{name}".lstrip("."), inside)


def _is_within(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}.")


def _outermost(paths: set[str]) -> set[str]:
    return {path for path in paths if not any(other != path and _is_within(path, other) for other in paths)}


def _sharing(network: nn.Module, paths: set[str]) -> set[str]:
    """Those that share a parameter with another one, unless one is left."""
    users: dict[int, set[str]] = {}
    for path in paths:
        for parameter in network.get_submodule(path).parameters():
            users.setdefault(id(parameter), set()).add(path)
    return set().union(*(each for each in users.values() if len(each) > 1))


@torch.no_grad()
def _depending(target: nn.Module, paths: set[str], runs: Sequence[Callable[[], object]]) -> set[str]:
    """Those that, with the arguments of the first pass, give something else after the last one.

    The last pass runs again before each of them: what one is called with would else leave to the next one what the
    first pass had left.
    """
    calls: dict[str, list[tuple[Any, Any]]] = {path: [] for path in paths if path}

    def before(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            calls[path].append((_copies((args, kwargs)), None))

        return hook

    def after(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, output: Any) -> None:
            calls[path][-1] = calls[path][-1][0], _copies(output)

        return hook

    modules = {path: target.get_submodule(path) for path in calls}
    hooks = [module.register_forward_pre_hook(before(path), with_kwargs=True) for path, module in modules.items()]
    hooks += [module.register_forward_hook(after(path)) for path, module in modules.items()]
    with hooked(hooks):
        runs[0]()
    found = set()
    for path, module in modules.items():
        runs[-1]()
        if not all(_gives(module, *call) for call in calls[path]):
            found.add(path)
    return found


def _gives(module: nn.Module, arguments: tuple[Any, Any], output: Any) -> bool:
    """Whether a module gives the same numbers for these arguments."""
    args, kwargs = arguments
    try:
        again = module(*args, **kwargs)
    except Exception:  # whatever the user's code raises where it does not fit what it reads
        return False
    pairs = list(zip(floating_outputs(output), floating_outputs(again), strict=False))
    return all(a.shape == b.shape and float((a - b).norm()) <= _SAME * float(a.norm()) for a, b in pairs)


def _copies(nested: Any) -> Any:
    return tree_map(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, nested)


@torch.no_grad()
def _observed(network: nn.Module, run: Callable[[], object]) -> dict[str, _Seen]:
    """What one pass shows of each module, by path."""
    found: dict[str, _Seen] = {}

    def before(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            found.setdefault(path, _Seen(len(found))).calls += 1

        return hook

    def after(path: str, is_innermost: bool) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            leaves = tree_leaves((args, kwargs, output))
            found[path].can_be_stored &= all(isinstance(each, _STORED) for each in leaves)
            if is_innermost:
                size = sum(each.nbytes for each in tree_leaves(output) if isinstance(each, Tensor))
                for outer in found:
                    if _is_within(path, outer):
                        found[outer].bytes += size

        return hook

    handles = []
    for path, module in network.named_modules():
        is_innermost = next(module.children(), None) is None
        handles.append(module.register_forward_pre_hook(before(path), with_kwargs=True))
        handles.append(module.register_forward_hook(after(path, is_innermost), with_kwargs=True))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found


class _Reached(BaseException):
    """Ends a pass that has run far enough; networks do not catch it."""


class Calls(NamedTuple):
    """What a block is called with in the passes of one batch: positional and keyword arguments of each call.

    Attributes:
        target: In the float network.
        searched: In the searched one.
    """

    target: list[Any]
    searched: list[Any]


@dataclass
class BlockInputs:
    """What a block is called with for each batch, in files of a folder of its own, which `close` removes.

    The files take twice the bytes of the block's inputs for all samples.

    Args:
        target: Float network in eval mode.
        searched: Searched network in eval mode; all before the block is discrete.
        block: The block, a module of both.
        run: Runs a network on a batch.
    """

    target: nn.Module
    searched: nn.Module
    block: Block
    run: RunBatch
    _structures: list[TreeSpec] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nncf_slb_")

    def __len__(self) -> int:
        """Number of batches."""
        return len(self._structures)

    def add(self, batch: Any) -> None:
        """Run both networks up to the block, and keep what it is called with.

        A batch is left out where one of the networks does not run the block, or the other one more often.

        Raises:
            OSError: If there is no room.
        """
        calls = Calls(*(self._calls(network, batch) for network in (self.target, self.searched)))
        if not calls.target or len(calls.target) != len(calls.searched):
            return
        leaves, structure = tree_flatten(calls)
        try:
            torch.save(leaves, self._file(len(self)))
        except RuntimeError as error:  # torch's writer of a full disk
            raise OSError(str(error).splitlines()[0]) from error
        self._structures.append(structure)

    def __getitem__(self, index: int) -> Calls:
        """Of a batch that was added."""
        leaves = torch.load(self._file(index), weights_only=True)
        calls: Calls = tree_unflatten(leaves, self._structures[index])
        return calls

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()

    def run_block(self, module: nn.Module, calls: Calls) -> list[Any]:
        """Outputs of the block of either network, for each call."""
        is_target = module is self.target.get_submodule(self.block.path)
        return [module(*args, **kwargs) for args, kwargs in (calls.target if is_target else calls.searched)]

    def _file(self, index: int) -> Path:
        return Path(self._folder.name) / f"{index}.pt"

    @torch.no_grad()
    def _calls(self, network: nn.Module, batch: Any) -> list[Any]:
        calls: list[Any] = []
        with _stopped_at(network.get_submodule(self.block.path), self.block.calls, calls):
            self.run(network, batch)
        return calls


@contextmanager
def _stopped_at(module: nn.Module, calls: int, kept: list[Any]) -> Iterator[None]:
    """Within it, a pass ends at the last call of a module; `kept` gets copies of what it is called with."""

    def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
        kept.append(_copies((args, kwargs)))
        if len(kept) == calls:
            raise _Reached

    handle = module.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
    try:
        yield
    except _Reached:
        pass
    finally:
        handle.remove()
