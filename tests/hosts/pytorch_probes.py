"""What code that has nothing to do with NNCF does with PyTorch; prints JSON, from a probe's name to its result.

python -m tests.hosts.pytorch_probes              PyTorch alone
python -m tests.hosts.pytorch_probes nncf_slb     with that package imported first
"""

import importlib
import sys

if __name__ == "__main__":
    for package in sys.argv[1:]:
        importlib.import_module(package)

import copy
import io
import json
import pickle
import threading
import warnings
from multiprocessing import get_context

import torch
import torch.nn.functional as F
from torch import nn

warnings.filterwarnings("ignore")
PROBES = {}


def probe(function):
    """Register a probe."""
    PROBES[function.__name__] = function
    return function


def encoder():
    """A module of torch's own that holds a function of `torch.nn.functional`."""
    return nn.TransformerEncoderLayer(8, 2, activation="gelu")


def saved(thing):
    """Through a file and back."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@probe
def devices_of_a_context():
    with torch.device("meta"):
        made = [
            torch.zeros(2), torch.arange(3), torch.tensor([1.0]), torch.full((2,), 1.0), torch.eye(3), torch.ones(1),
            torch.linspace(0, 1, 4), torch.randint(0, 4, (2,)), torch.empty(1), torch.as_tensor([1]), torch.rand(1),
            nn.Linear(2, 2).weight,
        ]  # fmt: skip
    return [str(tensor.device) for tensor in made]


@probe
def default_device():
    torch.set_default_device("meta")
    try:
        return str(torch.ones(3).device)
    finally:
        torch.set_default_device(None)


@probe
def device_context_after_a_compilation():
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))
    torch.jit.script(nn.Linear(1, 1))
    return devices_of_a_context()


@probe
def jit_script():
    module = torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU()).eval())
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.freeze(module), buffer)
    buffer.seek(0)
    return list(torch.jit.load(buffer)(torch.ones(1, 1, 5, 5)).shape)


@probe
def jit_trace():
    return list(torch.jit.trace(encoder().eval(), torch.ones(1, 2, 8), check_trace=False)(torch.ones(1, 2, 8)).shape)


@probe
def compile_whole_graphs():
    def function(x):
        return F.gelu(x).sum() + torch.arange(3).sum() + torch.softmax(x, 0).sum()

    return round(float(torch.compile(function, backend="aot_eager", fullgraph=True)(torch.ones(2))), 4)


@probe
def compile_breaks():
    import torch._dynamo

    return torch._dynamo.explain(lambda x: torch.relu(F.gelu(x)) + 1)(torch.ones(2)).graph_break_count


@probe
def export():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU()).eval()
    graph = torch.export.export(network, (torch.ones(1, 1, 5, 5),), strict=True).graph
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


class Functional(nn.Module):
    def forward(self, x):
        return torch.relu(F.gelu(x)) + torch.cat([x, x])[:1]


@probe
def fx_code():
    return torch.fx.symbolic_trace(Functional()).code


@probe
def fx_targets_are_torchs_functions():
    return [node.target is torch.relu for node in torch.fx.symbolic_trace(Functional()).graph.nodes]


@probe
def fx_patterns():
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_fx

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x):
            return torch.add(F.relu(self.conv(x)), 1.0)

    prepared = prepare_fx(Net().eval(), get_default_qconfig_mapping("x86"), (torch.ones(1, 1, 5, 5),))
    return len(list(prepared.graph.nodes))


@probe
def make_fx():
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(lambda x: torch.relu(x).sum())(torch.ones(2)).graph
    return [str(node.target) for node in graph.nodes]


@probe
def deepcopy():
    held = encoder()
    return [copy.deepcopy(F.gelu) is F.gelu, type(copy.deepcopy(held)).__name__]


@probe
def pickled_functions():
    functions = (torch.relu, F.gelu, F.softmax, torch.cat)
    return [pickle.loads(pickle.dumps(each)) is each for each in functions]


@probe
def saved_modules():
    return [type(saved(encoder())).__name__, type(saved({"act": F.silu, "p": nn.Parameter(torch.ones(1))})).__name__]


@probe
def functions_sent_to_another_process():
    with get_context("fork").Pool(1) as pool:
        return [round(float(each), 4) for each in pool.map(torch.sin, [torch.ones(1)])]


@probe
def tables_of_overrides():
    class Handled:
        functions = (torch.add, F.gelu, F.softmax, torch.stack, F.relu, torch.Tensor.add)

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func in cls.functions

    return [
        torch.add(Handled(), 1),
        F.gelu(Handled()),
        F.softmax(Handled(), 0),
        torch.stack(Handled()),
        F.relu(Handled()),
    ]


@probe
def names_of_overrides():
    tested = torch.overrides.get_testing_overrides()
    return [torch.overrides.resolve_name(torch.relu), torch.overrides.resolve_name(F.gelu), torch.add in tested]


@probe
def subclasses_of_tensor():
    class Own(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func is torch.relu)
            return super().__torch_function__(func, types, args, kwargs or {})

    seen = []
    return [type(torch.relu(torch.ones(2).as_subclass(Own)) + 1).__name__, *seen]


@probe
def modes_see_torchs_functions():
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func in (torch.add, torch.sum))
            return func(*args, **(kwargs or {}))

    seen = []
    with Mode():
        torch.sum(torch.add(torch.ones(2), 1))
    return seen


@probe
def func_transformations():
    linear = nn.Linear(2, 2)
    parameters = dict(linear.named_parameters())
    batched = torch.func.vmap(lambda x: torch.func.functional_call(linear, parameters, (x,)))(torch.ones(3, 2))
    grad = torch.func.grad(lambda x: F.gelu(x).sum())(torch.ones(2))
    jacobian = torch.func.jacrev(torch.sin)(torch.zeros(1)) + torch.func.jacfwd(torch.sin)(torch.zeros(1))
    hessian = torch.func.hessian(lambda x: (x**3).sum())(torch.ones(1))
    tangent = torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))[1]
    return [list(batched.shape), grad.tolist(), jacobian.tolist(), hessian.tolist(), tangent.tolist()]


@probe
def fake_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return [type(torch.zeros(2) + 1).__name__, type(nn.Linear(2, 2)(torch.ones(1, 2))).__name__]


@probe
def checkpointing():
    from torch.utils.checkpoint import checkpoint

    x = torch.ones(2, requires_grad=True)
    checkpoint(torch.sin, x, use_reentrant=False).sum().backward()
    return x.grad.tolist()


@probe
def kinds_of_functions():
    import inspect

    return [inspect.isbuiltin(torch.relu), type(torch.relu).__name__, str(inspect.signature(F.softmax))]


@probe
def text():
    return [repr(torch.ones(2)), repr(nn.Parameter(torch.ones(1)))]


@probe
def threads():
    found = []
    workers = [threading.Thread(target=lambda: found.append(float(F.relu(torch.ones(1))))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


@probe
def autocast():
    with torch.autocast("cpu", torch.bfloat16):
        return [str(nn.Linear(2, 2)(torch.ones(1, 2)).dtype), str(F.linear(torch.ones(1, 2), torch.ones(2, 2)).dtype)]


def run(function):
    """Result of a probe, or what it raised."""
    torch.manual_seed(0)
    try:
        return function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    print(json.dumps({name: run(function) for name, function in PROBES.items()}))
