"""Hypothesis strategies for whole configs: drawn from their JSON schemas, changed in their values and in their text."""

import copy
import json

from hypothesis import strategies as st

from nncf_slb.config.outside import InputInfo, TopLevelConfig
from nncf_slb.config.schema import inlined_schema
from nncf_slb.config.section import json_schema

HUGE = 10**400
NUMBERS = st.one_of(
    st.integers(-3, 40),
    st.floats(-2, 20, allow_nan=False),
    st.sampled_from([-0.0, 1e-45, 1e-40, 3.5e38, 1e39, 1e308, 5e-324, HUGE, -HUGE, 2**31, 2**63, 2**64, 1e16]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)
WORDS = st.sampled_from(
    ["", " ", "2", "1e3", "nan", "slb", "auto", "uniform", "\ud800", "\x00", "\n", "{re}", "{re}[", "{re}(a+)+$",
     "{re}.*", "{re}(?i)conv", "first", "Small/NNCFConv2d[first]/conv2d_0", "frist", "CPU", "\u00e9" * 300,
     "{re}\ud800"]
)  # fmt: skip
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
KEYS = st.sampled_from(["bits", "algorithm", "target_scopes", "", "x", "\ud800", "weights", "initializer"])


def _nested(levels, kind):
    value = 2
    for _ in range(levels):
        value = [value] if kind is list else {"weights": value}
    return value


DEEP = st.builds(_nested, st.sampled_from([3, 60, 300]), st.sampled_from([list, dict]))
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2), max_leaves=6
) | st.one_of(DEEP)


def valid(schema):
    """Values that a node of a schema allows, as far as the schema tells."""
    if "anyOf" in schema:
        return st.one_of([valid(branch) for branch in schema["anyOf"]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        required = schema.get("required", [])
        fields = {name: valid(node) for name, node in schema["properties"].items()}
        return st.fixed_dictionaries(
            {name: fields.pop(name) for name in required}, optional=dict(sorted(fields.items()))
        )
    if kind == "array":
        return st.lists(valid(schema["items"]), min_size=schema.get("minItems", 0), max_size=4)
    if kind in ("integer", "number"):
        return _in_range(schema, kind)
    simple = {
        "boolean": st.booleans(),
        "null": st.none(),
        "string": st.sampled_from(["first", "{re}conv", "{re}.*", "head"]),
    }
    return simple.get(kind, ANYTHING)


def _in_range(schema, kind):
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    most = schema.get("maximum", schema.get("exclusiveMaximum", least + 20))
    if kind == "integer":
        return st.integers(least, min(most, least + 20))
    return st.floats(least, min(most, 1e30), exclude_min="minimum" not in schema, exclude_max="maximum" not in schema)


def _places(node, path=()):
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from _places(value, (*path, key))


def _parent(config, path):
    for part in path[:-1]:
        config = config[part]
    return config


@st.composite
def changed(draw, configs, most=3):
    """Configs with up to `most` of their values changed, removed, renamed, added or put into a list."""
    config = copy.deepcopy(draw(configs))
    for _ in range(draw(st.integers(0, most))):
        places = [path for path in _places(config) if path]
        if not places:
            return config
        path = draw(st.sampled_from(places))
        parent, key = _parent(config, path), path[-1]
        how = draw(st.sampled_from(["replace", "replace", "remove", "rename", "add", "wrap", "text", "twice"]))
        if how == "replace":
            parent[key] = draw(ANYTHING)
        elif how == "remove":
            del parent[key]
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(KEYS) if draw(st.booleans()) else f"{key}s"] = parent.pop(key)
        elif how == "add" and isinstance(parent, dict):
            parent[draw(KEYS)] = draw(ANYTHING)
        elif how == "wrap":
            parent[key] = [parent[key]]
        elif how == "text":
            parent[key] = str(parent[key])[:50]
        elif how == "twice" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
    return config


_QUANTIZATION = st.fixed_dictionaries(
    {"algorithm": st.just("quantization")},
    optional={
        "preset": st.sampled_from(["performance", "mixed"]),
        "initializer": st.fixed_dictionaries(
            {}, optional={"range": st.just({"num_init_samples": 8}),
                          "batchnorm_adaptation": st.just({"num_bn_adaptation_samples": 0})}
        ),
        "ignored_scopes": st.sampled_from([["{re}head"], "{re}head"]),
        "overflow_fix": st.sampled_from(["disable", "enable"]),
    },
)  # fmt: skip
_DISTILLATION = st.fixed_dictionaries(
    {"algorithm": st.just("knowledge_distillation"), "type": st.sampled_from(["softmax", "mse"])},
    optional={"scale": st.floats(0.1, 10), "temperature": st.floats(0.1, 10)},
)


def algorithms(section):
    """``compression`` with an slb section: alone, in a list, and beside other algorithms."""
    others = st.lists(st.one_of(_QUANTIZATION, _DISTILLATION), max_size=2)
    return section | st.builds(lambda ours, more: [ours, *more], section, others)


def whole_configs():
    """NNCF configs with an slb section, right in form for the most part."""
    section = valid(json_schema())
    plain = st.fixed_dictionaries(
        {"algorithm": st.just("slb")}, optional={"weights": st.sampled_from([{"bits": 2}, {"values": "ternary"}])}
    )
    top = inlined_schema(TopLevelConfig)["properties"]
    outside = {name: valid(top[name]) for name in ("target_device", "compression_lr_multiplier", "epochs", "log_dir")}
    outside["ignored_scopes"] = st.sampled_from([[], ["{re}head"], "{re}first"])
    outside["input_info"] = st.one_of(st.just({"sample_size": [2, 1, 8, 8]}), valid(inlined_schema(InputInfo)))
    outside["num_workers"] = st.just(4)
    return st.fixed_dictionaries({"compression": algorithms(section | plain)}, optional=outside)


def _twice(text, key, value):
    return text.replace(f'"{key}":', f'"{key}": {value}, "{key}":', 1)


_TEXT_CHANGES = st.one_of(
    st.builds(lambda share: lambda text: text[: int(len(text) * share)], st.floats(0, 1)),
    st.builds(lambda key, value: lambda text: _twice(text, key, value),
              st.sampled_from(["epochs", "bits", "algorithm", "compression"]),
              st.sampled_from(["1", "null", "{}", "[" * 50 + "]" * 50])),
    st.builds(lambda number: lambda text: text.replace("2", number, 1),
              st.sampled_from(["1e400", "-1e400", "NaN", "-Infinity", "0x10", "01", "+1", "1_000", ".5", "1" * 5000,
                               "\u0662", "'2'"])),
    st.builds(lambda word: lambda text: text.replace('"', word, 1),
              st.sampled_from(["'", "\u201c", '"\\ud800', '"\\x', '"\t', '"\x00'])),
    st.sampled_from([
        lambda text: "\ufeff" + text, lambda text: "// settings\n" + text, lambda text: text + "/* end */",
        lambda text: text.replace("}", ",}", 1), lambda text: text + text, lambda text: text.replace(":", "=", 1),
        lambda text: "[" * 3000 + text, lambda text: '{"a":' * 3000 + text, lambda text: "", lambda text: " \n",
    ]),
)  # fmt: skip


@st.composite
def texts(draw, configs):
    """JSON texts of configs, some of them damaged, as bytes."""
    text = json.dumps(draw(changed(configs)))
    if draw(st.booleans()):
        text = draw(_TEXT_CHANGES)(text)
    encoding = draw(st.sampled_from(["utf-8"] * 9 + ["utf-16"]))
    return text.encode(encoding, "surrogatepass")
