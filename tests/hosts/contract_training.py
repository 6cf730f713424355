"""Copies, wrappers and ways to train in every host."""

import copy
from types import MethodType

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import nncf_slb
from nncf_slb.openvino.network import IrNetwork
from nncf_slb.search.searchable import searchable_weights
from tests.hosts.subjects import (
    EPOCHS,
    EXACT,
    IMAGES,
    LABELS,
    WAYS,
    HostTests,
    NoBatchNorm,
    batches,
    feature,
    outputs,
    settings,
    train,
)


class TrainingContract(HostTests):
    """Copies, wrappers and ways to train in every host."""

    @feature("deep copies")
    def test_a_copy_gives_the_same_outputs_and_goes_its_own_way(self):
        ctrl, model = self.create()
        train(ctrl, model, epochs=1)
        expected = outputs(model)
        duplicate = copy.deepcopy(model)
        train(ctrl, model, epochs=1)
        assert torch.equal(outputs(duplicate), expected) and not torch.equal(outputs(model), expected)

    @feature("averages of the network (`AveragedModel`)")
    @pytest.mark.parametrize("batchnorm", ["calibrate", "state"])
    def test_copies_and_averages_evaluate_with_statistics_of_their_own_discrete_weights(self, batchnorm):
        ctrl, model = self.create(config=settings(params={"batchnorm": batchnorm}))
        average = AveragedModel(model, use_buffers=True)
        for _ in range(EPOCHS):
            train(ctrl, model, epochs=1)
            average.update_parameters(model)
        duplicate = copy.deepcopy(model)  # straight after training: its statistics are stale
        assert torch.allclose(outputs(duplicate), outputs(model), atol=1e-5)
        assert (outputs(average).argmax(1) == outputs(model).argmax(1)).float().mean() > 0.5

    @feature("trainers that wrap `forward`")
    def test_a_forward_that_a_trainer_has_wrapped_is_taken_off_for_export(self, tmp_path):
        ctrl, model = self.create()
        expected = outputs(model)
        model._original_forward = own = model.forward  # as accelerate does for mixed precision
        model.forward = MethodType(lambda self, x: torch.full((len(x), 10), float(own(x).mean())), model)
        stripped = ctrl.strip()
        assert torch.allclose(outputs(stripped), expected, atol=1e-6)
        ctrl.export_model(str(tmp_path / "m.xml"))
        assert torch.allclose(IrNetwork(tmp_path / "m.xml", properties=EXACT)(IMAGES[300:400]), expected, atol=1e-5)

    def test_the_older_name_of_the_npu_is_understood(self, tmp_path):
        others = [{"algorithm": "quantization", "weights": {"ignored_scopes": ["{re}.*"]}}]
        config = {**settings(others if self.host == "nncf2" else ()), "target_device": "VPU"}
        ctrl, _ = self.create(config=config, loader=DataLoader(TensorDataset(IMAGES, LABELS), batch_size=50))
        ctrl.export_model(str(tmp_path / "m.xml"))
        assert nncf_slb.inspect_openvino(tmp_path / "m.xml").target_device == "NPU"

    @feature("gradient accumulation, clipping, channels last, fused and foreach optimizers, Nesterov")
    @pytest.mark.parametrize("other", WAYS)
    def test_usual_ways_to_train_search_what_the_plain_loop_does(self, other):
        plain, usual = WAYS[other]
        searched = []
        for way in (plain, usual):
            ctrl, model = self.create(NoBatchNorm())
            way(ctrl, model)
            searched.append(outputs(ctrl.strip()))
            assert torch.allclose(searched[-1], outputs(model), atol=1e-5)
        assert torch.allclose(*searched, atol=2e-3)

    @feature("DDP, two processes")
    def test_two_processes_search_one_network_and_one_process_goes_on_with_it(self):
        from tests.hosts.distributed_search import found_by_two_processes, one_network

        modes = ["ddp", "ddp, static graph", "ddp, state batch norm", "ddp, bits chosen", "ddp, gradient descent"]
        searches = found_by_two_processes(self.host, *modes)
        for mode in modes:
            one_network(searches[mode])

    @feature("autocast")
    def test_bfloat16_autocast_trains_float32_latents(self):
        ctrl, model = self.create()
        ctrl.scheduler.epoch_step()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        before = {weight: weight.searched.clone() for weight in searchable_weights(model)}
        for images, labels in batches():
            ctrl.scheduler.step()
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(model.train()(images), labels)
            loss.backward()
            optimizer.step()
        assert all(w.searched.dtype == torch.float32 and not torch.equal(w.searched, b) for w, b in before.items())
