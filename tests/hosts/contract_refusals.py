"""What every host refuses, in a sentence."""

import re

import pytest
import torch
from torch import nn

from nncf_slb.config.errors import ConfigError
from nncf_slb.errors import DataError, SLBError
from nncf_slb.hosts.model_checks import ModelError
from nncf_slb.search.finite import NotFiniteError
from tests.hosts.subjects import (
    HostTests,
    batches,
    feature,
    network,
    outputs,
    settings,
    train,
)


class RefusalContract(HostTests):
    """What every host refuses, in a sentence."""

    @pytest.mark.parametrize("name", ["nothing", "lef"])
    def test_a_scope_that_matches_nothing_is_an_error_with_a_suggestion(self, name):
        with pytest.raises(ConfigError, match=re.escape(self.scope("left") if name == "lef" else name)):
            self.create(config=settings(ignored_scopes=[name]))

    def test_a_scope_of_another_host_is_told_its_name_here(self):
        with pytest.raises(ConfigError) as caught:
            self.create(config=settings(ignored_scopes=[self.name_elsewhere(self.scope("left"))]))
        assert f'"{self.scope("left")}"' in str(caught.value)

    @pytest.mark.parametrize(("data", "message"), [([], "gives no batch"), ([1 / 3, None], "fails at the first batch")])
    def test_a_loader_that_gives_nothing_or_fails_is_an_error(self, data, message):
        def inputs(batch):
            return (batch[0],), {}

        with pytest.raises(DataError, match=message):
            self.create(loader=data, inputs=inputs)

    @feature("batches as dictionaries, loaders without length")
    def test_batches_may_be_dictionaries_from_a_loader_without_length(self):
        class Stream:
            batch_size = 50

            def __iter__(self):
                return iter([{"images": images, "labels": labels} for images, labels in batches()])

        ctrl, model = self.create(loader=Stream(), inputs=lambda batch: ((), {"x": batch["images"]}))
        train(ctrl, model, epochs=2)
        assert torch.allclose(outputs(ctrl.strip()), outputs(model), atol=1e-6)

    def test_all_problems_of_a_config_come_at_once(self):
        with pytest.raises((ConfigError, ValueError)) as caught:
            self.create(config=settings(weights={"bits": 9}, params={"schedule": "steep"}))
        assert "bits" in str(caught.value) and "schedule" in str(caught.value)

    def test_a_network_that_is_searched_already_is_refused(self):
        _, model = self.create()
        with pytest.raises(ModelError, match=r"searched already|NNCF 2\.19 has compressed"):
            self.create(model)

    def test_a_network_of_codes_is_refused(self):
        ctrl, _ = self.create()
        with pytest.raises(ModelError, match="codes already"):
            self.create(ctrl.strip())

    def test_a_wrapped_network_is_refused_with_what_to_pass(self):
        with pytest.raises(ModelError, match=r"model\.module"):
            self.create(nn.DataParallel(network()))

    def test_weights_that_are_not_finite_are_named(self):
        model = network()
        model.left.weight.data[0, 0, 0, 0] = torch.nan
        with pytest.raises(NotFiniteError, match="left"):
            self.create(model, settings(initializer={"batchnorm_adaptation": None}))[0].strip()

    def test_nothing_to_search_is_an_error(self):
        with pytest.raises(SLBError, match="layer to search"):
            self.create(config=settings(ignored_scopes=["{re}.*"]))
