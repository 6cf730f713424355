"""The examples of docs/hosts.md and docs/quick-starts.md run, each in the environment that it is for."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import nncf_slb
from nncf_slb.hosts.installed import has_builders, has_function_hooks
from tests.hosts import features
from tests.hosts.subjects import IMAGES, LABELS, batches, codes, network, outputs, train

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
TEXT = PAGE.read_text(encoding="utf-8")
EPOCHS = 3


def example(name):
    (code,) = re.findall(rf"^```python\n# {name}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return compile(code, f"{PAGE.name}, {name}", "exec")


def test_the_table_of_features_is_what_the_tests_assert():
    (shown,) = re.findall(r"<!-- features: begin -->\n(.*?)<!-- features: end -->", TEXT, re.DOTALL)
    assert shown.strip() == features.table().strip(), "run: python -m tests.hosts.features docs/hosts.md"


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("nncf2", marks=pytest.mark.skipif(not has_builders(), reason="needs NNCF 2.19")),
        pytest.param("nncf3", marks=pytest.mark.skipif(not has_function_hooks(), reason="needs NNCF 3")),
        "torch",
    ],
)
def test_an_example_searches_and_exports(host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"model": network(), "loader": batches(), "epochs": EPOCHS, "fit": train}
    exec(example(host), names)
    assert names["ctrl"].compression_stage() == 2
    expected = outputs(names["ctrl"].strip())
    result = nncf_slb.verify_openvino(names["ctrl"].strip(), tmp_path / "model.xml", IMAGES[300:400])
    assert result.passed and expected.isfinite().all()


QUICK_STARTS = PAGE.with_name("quick-starts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("program", "file"),
    [
        ("plain_pytorch.py", "plain.xml"),
        pytest.param("nncf_2.py", "nncf_2.xml", marks=pytest.mark.skipif(not has_builders(), reason="needs NNCF 2.19")),
        pytest.param(
            "nncf_3.py", "nncf_3.xml", marks=pytest.mark.skipif(not has_function_hooks(), reason="needs NNCF 3")
        ),
    ],
)
def test_a_quick_start_runs_as_it_stands(program, file, tmp_path):
    for code in re.findall(r"^```python\n(.*?)^```", QUICK_STARTS, re.DOTALL | re.MULTILINE):
        (tmp_path / code.split()[1]).write_text(code)
    run = subprocess.run([sys.executable, program], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "u2" in nncf_slb.inspect_openvino(tmp_path / file).to_str() and "%" in run.stdout


class Loader:
    """Batches as an iterable with a length, as trainers want them."""

    def __len__(self):
        return len(batches())

    def __iter__(self):
        return iter(batches())


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs Lightning")
def test_a_lightning_trainer_searches_resumes_with_the_same_bits_and_exports(tmp_path):
    import lightning

    names = {}
    exec(example("lightning"), names)

    class Module(lightning.LightningModule):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.01)

    def fit(epochs, seed, checkpoint=None):
        config = {"epochs": EPOCHS, "compression": {"algorithm": "slb", "weights": {"bits": 2}}}
        ctrl, model = nncf_slb.create_compressed_model(network(seed), config, batches(), host="torch")
        trainer = lightning.Trainer(
            max_epochs=epochs, callbacks=[names["Search"](ctrl)], accelerator="cpu", logger=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
            enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(Module(model), Loader(), ckpt_path=checkpoint)
        return ctrl, trainer

    whole, _ = fit(EPOCHS, 0)
    _, trainer = fit(1, 0)
    trainer.save_checkpoint(tmp_path / "search.ckpt")
    resumed, _ = fit(EPOCHS, 1, tmp_path / "search.ckpt")
    first, second = codes(whole.strip()), codes(resumed.strip())
    assert all(torch.equal(first[name], second[name]) for name in first)
    resumed.export_model(str(tmp_path / "model.xml"))
    assert resumed.compression_stage() == 2 and "u2" in nncf_slb.inspect_openvino(tmp_path / "model.xml").to_str()


class WithLoss(nn.Module):
    """A network that gives its loss, as the Trainer asks for it."""

    def __init__(self, seed):
        super().__init__()
        self.network = network(seed)

    def forward(self, images, labels=None):
        logits = self.network(images)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs Transformers")
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16"])
def test_a_hugging_face_trainer_searches_resumes_with_the_same_bits_and_exports(half, tmp_path):
    import transformers

    names = {}
    exec(example("transformers"), names)
    samples = [{"images": image, "labels": label} for image, label in zip(IMAGES[:300], LABELS[:300], strict=True)]

    def fit(epochs, folder, seed, checkpoint=None):
        config = {"epochs": EPOCHS, "compression": {"algorithm": "slb", "weights": {"bits": 2}}}
        first = [{"images": images} for images, _ in batches()]
        ctrl, model = nncf_slb.create_compressed_model(
            WithLoss(seed), config, first, host="torch", inputs=lambda batch: ((), {"images": batch["images"]})
        )
        arguments = transformers.TrainingArguments(
            str(tmp_path / folder), num_train_epochs=EPOCHS, per_device_train_batch_size=50, learning_rate=0.01,
            save_strategy="epoch", report_to=[], use_cpu=True, bf16=half, disable_tqdm=True, seed=0, max_grad_norm=0,
        )  # fmt: skip
        callbacks = [names["Search"](ctrl), *([] if epochs == EPOCHS else [_Stop(epochs)])]
        transformers.Trainer(model, arguments, train_dataset=samples, callbacks=callbacks).train(
            resume_from_checkpoint=checkpoint
        )
        return ctrl

    class _Stop(transformers.TrainerCallback):
        def __init__(self, epochs):
            self.epochs = epochs

        def on_epoch_end(self, args, state, control, **_):
            control.should_training_stop = state.epoch >= self.epochs
            control.should_save = True

    whole = fit(EPOCHS, "whole", 0)
    fit(1, "parts", 0)
    resumed = fit(EPOCHS, "parts", 1, str(tmp_path / "parts" / "checkpoint-6"))
    first, second = codes(whole.strip()), codes(resumed.strip())
    assert all(torch.equal(first[name], second[name]) for name in first)
    resumed.export_model(str(tmp_path / "model.xml"))
    assert "u2" in nncf_slb.inspect_openvino(tmp_path / "model.xml").to_str()
    assert nncf_slb.verify_openvino(resumed, tmp_path / "model.xml", IMAGES[300:400]).passed
