"""Sections of the config for tests: how to write them, and examples that are right, malformed and contradictory."""

import jsonschema

from nncf_slb.config.section import ConfigError, json_schema, parse_slb_config


def section(**settings):
    return {"algorithm": "slb", **settings}


def weights(**settings):
    return section(weights=settings)


def auto(**settings):
    return weights(**{"bits": "auto", "budget": {"mean_bits": 2.0}, **settings})


def params(**settings):
    return section(params=settings)


def override(weights_settings=None, **settings):
    return weights(**(weights_settings or {}), overrides=[{"target_scopes": "{re}conv", **settings}])


def accepted_by_model(config):
    try:
        parse_slb_config(config)
    except ConfigError:
        return False
    return True


def accepted_by_schema(config):
    return jsonschema.Draft7Validator(json_schema()).is_valid(config)


def leaves(node, path=()):
    for name, child in node.get("properties", {}).items():
        yield (*path, name)
        yield from leaves(child, (*path, name))


# Wrong in form, so that the JSON schema refuses them too: section, fragments of the message.
MALFORMED = [
    ({}, ["compression.algorithm: received nothing", 'allowed: "slb"', "Add it"]),
    (section(bits=2), ["compression.bits: received 2", "allowed: the keys algorithm, ", "did you mean weights.bits?"]),
    (section(wieghts={}), ["compression.wieghts: received {}", "did you mean weights?"]),
    (section(qqq=None), ["compression.qqq: received null", "Unknown key: remove it"]),
    (section(weights=[]), ["compression.weights: received []", "an object with any of the keys bits, values"]),
    (section(params=None), ["compression.params: received null", "any of the keys descent, average, schedule"]),
    (weights(bits=7), ["compression.weights.bits: received 7", "an integer from 1 to 4", "for the default, 2"]),
    (weights(bits=0), ["compression.weights.bits: received 0", "an integer from 1 to 4"]),
    (weights(bits=2.5), ["compression.weights.bits: received 2.5", "an integer from 1 to 4"]),
    (weights(bits=True), ["compression.weights.bits: received true", "an integer from 1 to 4"]),
    (weights(bits="2"), ['compression.weights.bits: received "2"', "an integer from 1 to 4"]),
    (weights(values="unifrom"), ['weights.values: received "unifrom"', "list of 2 to 16", 'Did you mean "uniform"?']),
    (weights(values=[1]), ["compression.weights.values: received [1]", "a list of 2 to 16 different numbers"]),
    (weights(values=[0, 0.0]), ["compression.weights.values: received [0, 0.0]", "different numbers"]),
    (weights(values=[0, True]), ["compression.weights.values: received [0, true]", "different numbers"]),
    (weights(values=list(range(17))), ["compression.weights.values: received [0, 1", "2 to 16"]),
    (weights(values=None), ["compression.weights.values: received null", 'for the default, "uniform"']),
    (
        weights(scale="per_tensor"),
        ['weights.scale: received "per_tensor"', 'one of "per_channel", "per_channel_fixed", "none"'],
    ),
    (weights(bits="many"), ['weights.bits: received "many"', 'an integer from 1 to 4, or "auto"', "the default, 2"]),
    (weights(bits="autp"), ['weights.bits: received "autp"', 'Did you mean "auto"?']),
    (weights(values="größe\u200b"), ['weights.values: received "größe\\u200b"']),
    (auto(budget=2.0), ["weights.budget: received 2.0", "an object with any of the keys mean_bits, bytes, samples"]),
    (auto(budget={"mean_bits": 5}), ["weights.budget.mean_bits: received 5", "a number from 1 to 4"]),
    (auto(budget={"bytes": 0}), ["weights.budget.bytes: received 0", "an integer from 1 to"]),
    (auto(budget={"bits": 2.0, "bytes": 9}), ["weights.budget.bits: received 2.0", "did you mean"]),
    (
        auto(budget={"bytes": 9, "samples": 0}),
        ["weights.budget.samples: received 0", "an integer from 1 to 2147483647", "512"],
    ),
    (auto(candidates=[]), ["weights.candidates: received []", "1 to 4 different integers from 1 to 4"]),
    (auto(candidates=[2, 8]), ["weights.candidates: received [2, 8]", "integers from 1 to 4"]),
    (auto(candidates=[2, 2]), ["weights.candidates: received [2, 2]", "different integers"]),
    (auto(candidates=[True]), ["weights.candidates: received [true]", "different integers"]),
    (override(bits="auto"), ['weights.overrides[0].bits: received "auto"', "an integer from 1 to 4"]),
    (weights(overrides=[{"bits": 4}]), ["weights.overrides[0].target_scopes: received nothing", "Add it"]),
    (weights(overrides={}), ["compression.weights.overrides: received {}", "a list of objects"]),
    (override(target_scopes=[]), ["weights.overrides[0].target_scopes: received []", "a non-empty list"]),
    (override(target_scopes=""), ['weights.overrides[0].target_scopes: received ""', "a non-empty string"]),
    (override(target_scopes=["a", 1]), ['weights.overrides[0].target_scopes: received ["a", 1]']),
    (override(bit=4), ["weights.overrides[0].bit: received 4", "did you mean weights.overrides[].bits?"]),
    (override(bits=5), ["weights.overrides[0].bits: received 5", "an integer from 1 to 4"]),
    (section(initializer={"logits": "train"}), ['initializer.logits: received "train"', 'Did you mean "trained"?']),
    (
        section(initializer={"sharpness": 0}),
        ["initializer.sharpness: received 0", "a number from 1e-06 to", "2.0"],
    ),
    (
        section(initializer={"batchnorm_adaptation": {"num_bn_adaptation_samples": -1}}),
        ["compression.initializer.batchnorm_adaptation.num_bn_adaptation_samples: received -1", "from 0", "2000"],
    ),
    (
        section(initializer={"batchnorm_adaptation": {"samples": 1}}),
        ["initializer.batchnorm_adaptation.samples: received 1", "the keys num_bn_adaptation_samples"],
    ),
    (
        params(batchnorm_adaptation={}),
        ["params.batchnorm_adaptation", "did you mean initializer.batchnorm_adaptation?"],
    ),
    (params(shedule="sine"), ["params.shedule", "did you mean params.schedule?"]),
    (params(schedule="cosine"), ['params.schedule: received "cosine"', '"exponential", "linear", "sine"']),
    (params(inverse_temperature_start="1"), ['inverse_temperature_start: received "1"', "from 1e-06 to 1000000"]),
    (params(epochs=10**400), ["params.epochs: received 1000", "an integer from 1 to 2147483647"]),
    (params(steps_per_epoch=10**400), ["params.steps_per_epoch: received 1000", "an integer from 1 to 2147483647"]),
    (params(inverse_temperature_end=1e39), ["inverse_temperature_end: received 1e+39", "from 1e-06 to 1000000"]),
    (weights(values=[0, 1e39]), ["weights.values: received [0, 1e+39]", "numbers from -1000000 to 1000000"]),
    (section(initializer={"sharpness": 1e39}), ["initializer.sharpness: received 1e+39", "to 1000000"]),
    (section(compression_lr_multiplier=1e39), ["compression_lr_multiplier: received 1e+39", "at most 1000000"]),
    (params(inverse_temperature_factor=1), ["inverse_temperature_factor: received 1", "a number above 1"]),
    (params(average=1), ["params.average: received 1", 'one of "auto", "none", or a number above 0 and below 1']),
    (params(average=0.0), ["params.average: received 0.0", "a number above 0 and below 1"]),
    (params(average=-0.5), ["params.average: received -0.5", "a number above 0 and below 1"]),
    (params(average=True), ["params.average: received true", "a number above 0 and below 1"]),
    (params(average="automatic"), ['params.average: received "automatic"', '"auto", "none"']),
    (params(epochs=0), ["params.epochs: received 0", "an integer from 1 to 2147483647"]),
    (params(start_fraction=1), ["start_fraction: received 1", "a number at least 0 and below 1"]),
    (params(end_fraction=1.5), ["end_fraction: received 1.5", "a number above 0 and below 1", "0.85"]),
    (params(update_per_optimizer_step=1), ["update_per_optimizer_step: received 1", "true or false"]),
    (section(ignored_scopes=3), ["compression.ignored_scopes: received 3", "a non-empty string, or a list"]),
    (section(compression_lr_multiplier=0), ["compression_lr_multiplier: received 0", "a number above 0"]),
]

# Right in form but contradictory.
CONTRADICTIONS = [
    (
        params(average=0.9, descent="gradient"),
        ["params.average: received 0.9", 'none with descent "gradient"', "Remove it, or change descent"],
    ),
    (weights(values=[1, 2, 3, 4, 5], bits=2), ["weights.bits: received 2", "3 for a list of 5 values", "set it to 3"]),
    (weights(values=[-1, 1], bits=2), ["weights.bits: received 2", "1 for a list of 2 values"]),
    (weights(values="ternary", bits=3), ["weights.bits: received 3", "2 for ternary values"]),
    (weights(values=[0, 1e-40]), ["weights.values: received [0, 1e-40]", "whose largest is at least 1e-06"]),
    (override(values=[0, 1e-40]), ["overrides[0].values: received [0, 1e-40]", "whose largest is at least 1e-06"]),
    (weights(values=[0, 1e-7, 1]), ["weights.values: received [0, 1e-07, 1]", "more than 2e-06 of the largest apart"]),
    (override(values=[-1, 1, 1.000001]), ["overrides[0].values: received [-1, 1, 1.000001]", "move them apart"]),
    (weights(values="zero_centered", bits=1), ["weights.bits: received 1", "with 2 to 4 bits"]),
    (override({"values": "ternary"}, bits=4), ["weights.overrides[0].bits: received 4", "Give this override values"]),
    (override({"values": [0, 1]}, bits=1), ["weights.overrides[0].bits: received 1", "Give this override values"]),
    (override(values="ternary", bits=1), ["weights.overrides[0].bits: received 1", "2 for ternary values"]),
    (override({"bits": 1}, values="zero_centered"), ['overrides[0].values: received "zero_centered"', "bits are 1"]),
    (auto(values="ternary"), ['weights.bits: received "auto"', "2 for ternary values", "set it to 2"]),
    (
        auto(values="ternary", budget={"mean_bits": 1}, candidates=[1, 2]),
        ['weights.bits: received "auto"', "2 for ternary values"],
    ),
    (auto(values=[0, 1, 2, 3, 4]), ['weights.bits: received "auto"', "3 for a list of 5 values"]),
    (auto(budget=None), ["weights.budget: received null", 'since bits is "auto"', '{"mean_bits": 2.0}']),
    (weights(bits="auto"), ["weights.budget: received nothing", "either mean_bits or bytes", "Add it"]),
    (auto(budget={}), ["weights.budget: received {}", "either mean_bits or bytes", "Add one of them"]),
    (auto(budget={"mean_bits": 2, "bytes": 9}), ["budget.bytes: received 9", "not both", "Remove one"]),
    (weights(budget={"bytes": 9}), ['budget: received {"bytes": 9}', 'none unless bits is "auto"', "Remove it"]),
    (weights(bits=2, candidates=[2]), ["weights.candidates: received [2]", 'none unless bits is "auto"']),
    (auto(candidates=[3, 4]), ["weights.budget.mean_bits: received 2.0", "at least 3, the smallest of the candidates"]),
    (auto(values="zero_centered", candidates=[1, 2]), ["candidates: received [1, 2]", "2 to 4 for zero_centered"]),
    (
        auto(values="zero_centered", budget={"mean_bits": 1.5}),
        ["weights.budget.mean_bits: received 1.5", "at least 2", "add a smaller candidate"],
    ),
    (
        override({"bits": "auto", "budget": {"bytes": 9}, "candidates": [1, 2]}, values="zero_centered"),
        ['overrides[0].values: received "zero_centered"', "all of weights.candidates"],
    ),
    (
        params(inverse_temperature_factor=1.1, inverse_temperature_end=9),
        ["inverse_temperature_factor: received 1.1", "not both"],
    ),
    (
        params(inverse_temperature_factor=2, epochs=100),
        ["inverse_temperature_factor: received 2", "ends at 1e+09 at most", "to 85 of 100 it comes to 1e25.6"],
    ),
    (params(inverse_temperature_factor=2, schedule="sine"), ['none with schedule "sine"', '"exponential"']),
    (
        params(inverse_temperature_start=3, inverse_temperature_end=3),
        ["params.inverse_temperature_end: received 3", "above inverse_temperature_start, which is 3"],
    ),
    (params(inverse_temperature_start=30), ["inverse_temperature_start: received 30", "which is 20 if left out"]),
    (params(start_epoch=1, start_fraction=0.1), ["params.start_fraction: received 0.1", "either start_epoch or"]),
    (params(end_epoch=1, end_fraction=0.1), ["params.end_fraction: received 0.1", "not both", "Remove one"]),
    (params(start_epoch=5, end_epoch=5), ["params.end_epoch: received 5", "after the search starts"]),
    (params(start_fraction=0.9), ["params.start_fraction: received 0.9", "from epoch 90 to 85 of 100"]),
    (params(start_fraction=0.5, end_epoch=4, epochs=10), ["params.end_epoch: received 4", "from epoch 5 to 4 of 10"]),
    (params(end_epoch=10, epochs=10), ["params.end_epoch: received 10", "before epoch 10", "train for more epochs"]),
    (params(end_epoch=9.95, epochs=10, steps_per_epoch=10), ["end_epoch: received 9.95", "at epoch 9.9 or before"]),
    (
        params(end_fraction=0.95, epochs=10, update_per_optimizer_step=False),
        ["params.end_fraction: received 0.95", "at epoch 9 or before, of 10", "here it is 9.5"],
    ),
    (params(epochs=1, update_per_optimizer_step=False), ["update_per_optimizer_step: received false", "with 1 epoch"]),
    (
        params(steps_per_epoch=9, update_per_optimizer_step=False),
        ["params.steps_per_epoch: received 9", "unless update_per_optimizer_step is true"],
    ),
    (params(batchnorm="state", batchnorm_calibration_batches=50), ["calibration_batches: received 50", '"calibrate"']),
]

GOOD = [
    auto(),
    auto(budget={"bytes": 22000.0, "samples": 100}, candidates=[4, 2.0]),
    auto(values="zero_centered", candidates=[2, 3]),
    override({"bits": "auto", "budget": {"mean_bits": 1}}, values="ternary"),
    override({"bits": "auto", "budget": {"mean_bits": 1}}, values="zero_centered"),
    section(),
    section(weights={}, initializer={}, params={}),
    weights(bits=None),
    weights(bits=4.0, values="power_of_two", scale="none"),
    weights(bits=1, values="power_of_two"),
    weights(values=[-1, 0.5, 2], bits=2),
    override({"values": "ternary"}, bits=3, values="uniform"),
    override(bits=None, values=None, scale=None, target_scopes=["a", "b"]),
    section(initializer={"logits": "random", "sharpness": 1, "batchnorm_adaptation": None}),
    section(initializer={"batchnorm_adaptation": {"num_bn_adaptation_samples": 0}}),
    params(inverse_temperature_factor=1.1, inverse_temperature_end=None, epochs=30),
    params(start_epoch=90, end_fraction=0.5),
    params(end_epoch=3.5, start_fraction=0),
    params(end_epoch=9, epochs=10, update_per_optimizer_step=False),
    params(end_epoch=9.9, epochs=10, steps_per_epoch=10),
    params(end_epoch=150),
    params(update_per_optimizer_step=True, steps_per_epoch=100, batchnorm="state"),
    section(ignored_scopes="{re}fc", target_scopes=["a"], validate_scopes=False, compression_lr_multiplier=2),
    section(ignored_scopes=[], target_scopes=None),
]
