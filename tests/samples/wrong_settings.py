"""Settings that samples must refuse: what stands where in a config that is right otherwise."""

NAN, INFINITY = float("nan"), float("inf")
REMOVED = object()

SGD = {"type": "SGD", "base_lr": 0.1}
STEPPED = {**SGD, "schedule_type": "step"}
MULTISTEP = {**STEPPED, "schedule_type": "multistep"}

# Sample (c: classification, s: super-resolution), path of the setting, wrong value, setting in the line if another one.
WRONG = [
    # Keys that nobody reads.
    ("c", "compresion", {"algorithm": "slb"}, None),
    ("c", "epoch", 5, None),
    ("c", "num_epochs", 5, None),
    ("s", "patchsize", 5, None),
    ("s", "num_classes", 5, None),
    ("c", "scale", 2, None),
    ("c", "base_lr", 0.1, None),
    ("c", "optimizer.lr", 0.1, None),
    ("c", "optimizer.momentum", 0.1, None),
    ("c", "optimizer.optimizer_params", {"lr": 0.1}, "optimizer.optimizer_params.lr"),
    ("c", "optimizer.optimizer_params", {"weigth_decay": 0.1}, "optimizer.optimizer_params.weigth_decay"),
    ("c", "optimizer.optimizer_params", {"momentum": 0.9}, "optimizer.optimizer_params.momentum"),
    ("c", "model_params", {"bireal": True}, "model_params.bireal"),
    ("c", "model_params", {"num_classes": 10}, "model_params.num_classes"),
    ("c", "input_info.sample_sise", [1, 1, 8, 8], None),
    ("c", "compression.0.weigths", {"bits": 2}, None),
    ("c", "compression.1.wieghts", {"bits": 8}, None),
    # Whole numbers.
    *(("c", "epochs", value, None) for value in ("20", 0, -1, 2.5, True, None, [], {}, NAN, INFINITY)),
    *(("c", "batch_size", value, None) for value in ("50", 0, -5, 1.5, False, None, [50])),
    *(("c", "seed", value, None) for value in ("0", -1, 0.5, True, None, 2**64, [])),
    *(("s", "patch_size", value, None) for value in ("24", 0, -24, 24.5, None)),
    *(("s", "patches", value, None) for value in (0, "many", True)),
    # Numbers and choices.
    *(("c", "optimizer.base_lr", value, None) for value in (INFINITY, NAN, 0, -0.1, "0.1", None, True, [0.1], 1e300)),
    *(("c", "optimizer.type", value, None) for value in ("adam", "Adamm", None, 3, ["Adam"])),
    *(("c", "optimizer.schedule_type", value, None) for value in ("cosin", None, 1)),
    *(("c", "optimizer", value, None) for value in (None, "Adam", [], 0.1)),
    *(("c", "model", value, None) for value in ("resnet21", None, 3, ["digits_net"], {}, "")),
    *(("c", "dataset", value, None) for value in ("mnist", None, 3, ["digits"])),
    *(("c", "num_classes", value, None) for value in (0, "10", 11, True)),
    *(("s", "scale", value, None) for value in (1, 5, "2", True, None, 2.5)),
    *(("s", "channels", value, None) for value in (2, True, "1")),
    *(("s", "loss", value, None) for value in ("l3", None, 1)),
    *(("s", "strict", value, None) for value in ("yes", 1)),
    ("s", "test_data", "Set5", None),
    ("s", "test_data", [3], "test_data[0]"),
    ("s", "test_data", ["no/such/folder"], "test_data[0]"),
    # Settings of a schedule.
    ("c", "optimizer", MULTISTEP, "optimizer.steps"),
    ("c", "optimizer.steps", [10], None),
    ("c", "optimizer.gamma", 0.1, None),
    *(
        ("c", "optimizer", {**MULTISTEP, "steps": steps}, "optimizer.steps")
        for steps in (["10"], 10, [], [20, 10], [-1], [1.5], None, [True], "10")
    ),
    *(
        ("c", "optimizer", {**STEPPED, "gamma": gamma}, "optimizer.gamma")
        for gamma in ("0.1", NAN, INFINITY, -1, 0, None, 1e300)
    ),
    ("c", "optimizer", {**STEPPED, "step": 0}, "optimizer.step"),
    # Arguments of optimizers and networks.
    *(("c", "optimizer.optimizer_params", value, None) for value in (None, [], "momentum", 3)),
    *(
        ("c", "optimizer", {**SGD, "optimizer_params": params}, f"optimizer.optimizer_params.{key}")
        for params, key in (
            ({"momentum": "0.9"}, "momentum"), ({"momentum": -1}, "momentum"), ({"momentum": NAN}, "momentum"),
            ({"nesterov": True}, "nesterov"), ({"nesterov": "yes", "momentum": 0.9}, "nesterov"),
            ({"weight_decay": "1e-4"}, "weight_decay"), ({"weight_decay": -1}, "weight_decay"),
        )
    ),
    ("c", "optimizer.optimizer_params", {"betas": [0.9]}, "optimizer.optimizer_params.betas"),
    ("c", "optimizer.optimizer_params", {"betas": [0.9, 1.0]}, "optimizer.optimizer_params.betas"),
    ("c", "optimizer.optimizer_params", {"betas": ["0.9", 0.99]}, "optimizer.optimizer_params.betas"),
    ("c", "logits_optimizer", {"type": "Adam"}, "logits_optimizer.base_lr"),
    ("c", "logits_optimizer", [], None),
    *(("c", "model_params", value, None) for value in (None, [], "relu")),
    ("c", "model_params", {"activation": "tanh"}, "model_params.activation"),
    ("c", "model_params", {"activation": 3}, "model_params.activation"),
    ("c", "model_params", {"in_channels": "1"}, "model_params.in_channels"),
    ("c", "model_params", {"in_channels": 3}, None),
    ("s", "model_params", {"features": [64]}, "model_params.features"),
    ("s", "model_params", {"features": ["64", 32]}, "model_params.features"),
    ("s", "model_params", {"features": 64}, "model_params.features"),
    # What NNCF reads.
    *(("c", "input_info", value, None) for value in (None, [], "8x8", 3, [3])),
    *(
        ("c", "input_info.sample_size", value, None)
        for value in (
            None, [], "1,1,8,8", [1, 1, "8", 8], [1, 3, 8, 8], [1, 1, 8], [1, 1, 0, 8], [1, 1, 8.5, 8], [1, -1, 8, 8],
            [1, 1, NAN, 8],
        )
    ),
    ("s", "input_info.sample_size", [1, 3, 24, 24], None),
    ("c", "input_info.type", "int8", None),
    ("c", "input_info.filler", "noise", None),
    ("c", "input_info.keyword", "image", None),
    *(("c", "target_device", value, None) for value in ("cpu", None, 3, "TPU", "TRIAL")),
    *(("c", "log_dir", value, None) for value in (None, 3, ["runs"], "")),
    ("c", "disable_shape_matching", "no", None),
    ("c", "compression_lr_multiplier", -1, None),
    ("c", "accuracy_aware_training", {"mode": "early"}, None),
    *(("c", "compression", value, None) for value in (None, [], {}, "slb", [3], [{}], {"bits": 2})),
    ("c", "compression.0.algorithm", "sbl", None),
    ("c", "compression.1.algorithm", "quantisation", None),
    ("c", "compression.1.preset", "fast", None),
    ("c", "compression.1.initializer.range.num_init_samples", -1, None),
    ("c", "compression.1.weights.bits", "8", None),
    ("c", "compression.0.weights.bits", 5, None),
    ("c", "compression.0.weights.bits", NAN, None),
    ("c", "compression.0.params", {"start_fraction": INFINITY}, "compression[0].params.start_fraction"),
    # Regular expressions.
    ("c", "compression.0.ignored_scopes", ["{re}["], "compression[0].ignored_scopes[0]"),
    ("c", "compression.0.ignored_scopes", "{re}(a+)+$", None),
    ("c", "compression.0.target_scopes", ["{re}conv", "{re}(.*/)*x"], "compression[0].target_scopes[1]"),
    ("c", "compression.1.ignored_scopes", ["{re}(a|a?)+$"], "compression[1].ignored_scopes[0]"),
    ("c", "compression.1.weights.ignored_scopes", ["{re}*"], "compression[1].weights.ignored_scopes[0]"),
    ("c", "ignored_scopes", ["{re}(a*)*$"], "ignored_scopes[0]"),
    ("c", "target_scopes", "{re}(?P<", None),
    # What is missing.
    *(("c", key, REMOVED, None) for key in ("model", "dataset", "epochs", "batch_size", "optimizer")),
    ("c", "optimizer.base_lr", REMOVED, None),
    *(("s", key, REMOVED, None) for key in ("scale", "channels", "patch_size", "patches", "loss", "optimizer.type")),
]  # fmt: skip
