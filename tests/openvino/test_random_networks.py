"""Networks that nobody drew: the file, in all the ways it can be loaded, computes what PyTorch does, up to rounding.

RANDOM_NETWORKS=2000 python -m pytest tests/openvino/test_random_networks.py draws more, as `make zoo` does.
"""

import os
import tempfile
from pathlib import Path

import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

import nncf_slb
from tests.networks import compress, make_config
from tests.openvino.random_networks import SIZE, programs, settings

EXAMPLES = int(os.environ.get("RANDOM_NETWORKS", "100"))
NO_DATA = {"range": {"num_init_samples": 0}, "batchnorm_adaptation": {"num_bn_adaptation_samples": 0}}
QUANTIZATION = {"algorithm": "quantization", "initializer": NO_DATA, "weights": {"ignored_scopes": ["{re}.*"]}}


@hypothesis_settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 100, suppress_health_check=list(HealthCheck),
    print_blob=True,
)  # fmt: skip
@given(network=programs(), chosen=settings())
def test_the_file_of_a_random_network_computes_what_pytorch_does(network, chosen):
    weights, activations, composed = chosen
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(*SIZE)
    section = {"weights": {"bits": weights}, "activations": {"bits": activations}}
    ctrl, model = compress(network, make_config(SIZE, section, [QUANTIZATION] if composed else []))
    model.train()
    model(x)  # batch norm statistics, and the ranges of quantized inputs
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = nncf_slb.export_openvino(ctrl, Path(folder) / "m.xml")
        result = nncf_slb.verify_openvino(ctrl, path, x, tolerance=1e-3)
    tiny = all(output.largest < 1e-5 for output in result.outputs)  # outputs that are zero but for cancellation
    assert result.passed or tiny, result.to_str()
