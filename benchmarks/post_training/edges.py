"""What 8 bits in the first and last layers alone cost: by the nearest integers, and rounded with the layers' inputs.

    python -m benchmarks.post_training.edges --work runs/post_training

Points or dB lost on the validation part; all other layers stay in float. Integers go up to 127 where inputs are float,
and up to 64 where they are quantized.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch

from benchmarks.post_training.networks import NETWORKS, Subject
from nncf_slb.hosts.dataflow import observe
from nncf_slb.hosts.quiet import quieten
from nncf_slb.search.eight_bits import eight_bit_codes
from nncf_slb.search.input_rounding import round_with_inputs
from nncf_slb.search.runtime import FixedWeight
from nncf_slb.tables import terminal_table

_SAMPLES, _BATCH = 1000, 100


def lost(subject: Subject, quantized_inputs: bool) -> tuple[float, float]:
    """Score lost by the nearest integers, and by those that the inputs choose."""
    model = subject.model
    flow = observe(model, lambda: model(subject.samples[:2]))
    edges = [layer for layer in flow.layers if layer.is_first or layer.is_last]
    fixed = {layer.path: FixedWeight(eight_bit_codes(layer.module, quantized_inputs)) for layer in edges}

    def score() -> float:
        rounded = copy.deepcopy(model)
        with torch.no_grad():
            for path, weight in fixed.items():
                rounded.get_parameter(f"{path}.weight").copy_(weight())
        return subject.validation(rounded)

    whole, nearest = subject.validation(model), score()
    round_with_inputs(model, model, fixed, lambda network, x: network(x), subject.samples[:_SAMPLES].split(_BATCH))
    return whole - nearest, whole - score()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of all runs, with the float networks")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=["small ResNet", "ESPCN x2"])
    args = parser.parse_args()
    quieten()
    rows = []
    for name in args.networks:
        subject = NETWORKS[name].make(args.work, 0, _SAMPLES)
        for quantized_inputs in (False, True):
            losses = [f"{each:.3f}" for each in lost(subject, quantized_inputs)]
            rows.append([f"{name}, {NETWORKS[name].unit}", "64" if quantized_inputs else "127", *losses])
    print(terminal_table(["network", "integers up to", "nearest", "with inputs"], rows, "lrrr"))


if __name__ == "__main__":
    main()
