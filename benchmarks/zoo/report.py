"""The page that shows what became of the zoo: one table, and how many networks it comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.zoo.networks import NETWORKS
from benchmarks.zoo.worker import EXPORTED, FAILED, REFUSED, WRONG, Row
from nncf_slb.files import new_file
from nncf_slb.openvino.ir import device_name
from nncf_slb.tables import markdown_table

_INTRODUCTION = """# Real architectures

Networks of `pytorchcv`, `timm`, `transformers` and `torchvision`, in small sizes with random weights. Each one is

1. searched with the plain config (bits and nothing else), and trained for two steps,
2. exported,
3. loaded in several ways and compared with PyTorch.

The question is what becomes of a network that this package was not made for. It should be exported and computed as
PyTorch does, or be refused before training with a remedy. [Results](results.md) show how accurate networks become."""
_COLUMNS = (
    "architecture", "pair", "weights searched", "largest relative difference", "same class", ".bin, bytes", "s",
    "why not",
)  # fmt: skip
_EXPLANATION = """\
- *Pair*: every network runs with 2-bit weights. A quarter of the networks, in turns, runs each of the other pairs.
- *Weights searched*: their number, and their share of all numbers in parameters of two dimensions or more.
  Embeddings, positions and what only functions use stay as they are.
- *Largest relative difference*: of the file as exported, in units of PyTorch's largest value. 0.001 is allowed with
  float activations, and 0.05 with 8 bits.
- *By rounding*: beyond that, but rounding explains it. Given the file's own quantized inputs, every layer agrees.
  PyTorch's outputs move as far when the inputs of its quantizers are off by the last digits.
- *Same class*: of the output in which the fewest agree.
- *Untrained*: without the two steps, since PyTorch 2.13 itself crashes in the backward pass of this network here."""
_MEANING = {
    EXPORTED: "exported, and computed as PyTorch does",
    REFUSED: "refused before training, with a remedy",
    FAILED: "failed in another way",
    WRONG: "exported, but computed differently",
}


def write_report(rows: Sequence[Row], page: Path) -> None:
    """Write the page.

    Args:
        rows: What the processes found, in any order.
        page: Its path.
    """
    with new_file(page) as partial:
        partial.write_text(render(rows))


def render(rows: Sequence[Row]) -> str:
    """Text of the page."""
    order = {name: index for index, name in enumerate(NETWORKS)}
    ordered = sorted(rows, key=lambda row: (order.get(row.network, len(order)), row.bits, -row.activations))
    commits = ", ".join(sorted({row.commit for row in rows}))
    made = f"`make zoo` on {device_name('CPU')}, one thread, {date.today().isoformat()}, of commit {commits}."
    table = markdown_table(_COLUMNS, [_cells(row) for row in ordered], "llrrrrrl")
    return "\n\n".join([_INTRODUCTION, made, table, _EXPLANATION, "## In short", _counts(rows)]) + "\n"


def _cells(row: Row) -> list[str]:
    searched = f"{row.searched:,} ({row.share:.0%})" if row.searched else ""
    difference = "" if row.relative is None else f"{row.relative:.1e}"
    if row.by_rounding:
        difference += ", by rounding"
    agreement = "" if row.agreement is None else f"{row.agreement:.0%}"
    size = f"{row.bin_bytes:,}" if row.bin_bytes else ""
    return [_source(row.network), row.pair, searched, difference, agreement, size, f"{row.seconds:.0f}", _remark(row)]


def _source(name: str) -> str:
    network = NETWORKS.get(name)
    return f"{name} ({network.source})" if network else name


def _remark(row: Row) -> str:
    """Why it is not exported, on one line of a table."""
    outcome = "" if row.outcome == EXPORTED else f"**{row.outcome}** in `{row.stage}`: {row.reason}"
    remarks = [outcome] if outcome else []
    if not row.trained:
        remarks.append("untrained")
    return "; ".join(remarks).replace("|", "\\|").replace("\n", " ")


def _counts(rows: Sequence[Row]) -> str:
    """Runs and networks by what became of them; a network counts as the worst of its runs."""
    worst = (WRONG, FAILED, REFUSED, EXPORTED)
    networks: dict[str, str] = {}
    for row in rows:
        networks[row.network] = min(networks.get(row.network, EXPORTED), row.outcome, key=worst.index)
    runs, names = Counter(row.outcome for row in rows), Counter(networks.values())
    counts = [[meaning, names[outcome], runs[outcome]] for outcome, meaning in _MEANING.items()]
    return (
        f"{len(networks)} networks in {len(rows)} runs; the worst run of a network decides where it counts.\n\n"
        + markdown_table(["", "networks", "runs"], counts, "lrr")
    )
