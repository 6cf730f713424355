"""What can happen to an exported IR on its way: functions that damage one, by name."""

import os
import random
import xml.etree.ElementTree as ElementTree

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_LAST = -1


def _attribute(tag, name, which, value):
    """Another value of an attribute of one element; None removes it."""

    def damage(path):
        tree = ElementTree.parse(path)
        attributes = list(tree.getroot().iter(tag))[which].attrib
        attributes[name] = attributes.get(name, "") if value is None else value
        if value is None:
            del attributes[name]
        tree.write(path)

    return damage


def _element(tag, which, change):
    """One element removed, doubled or emptied."""

    def damage(path):
        tree = ElementTree.parse(path)
        element = list(tree.getroot().iter(tag))[which]
        parent = next(node for node in tree.getroot().iter() if element in list(node))
        if change == "removed":
            parent.remove(element)
        elif change == "doubled":
            parent.append(element)
        else:
            for child in list(element):
                element.remove(child)
        tree.write(path)

    return damage


def _text(change):
    def damage(path):
        path.write_bytes(change(path.read_bytes()))

    return damage


def _bin(change):
    def damage(path):
        weights = path.with_suffix(".bin")
        weights.write_bytes(change(weights.read_bytes()))

    return damage


def _flipped(seed):
    """Some bytes changed, which ones the seed says."""

    def change(content):
        chosen = random.Random(seed)
        changed = bytearray(content)
        for _ in range(chosen.choice([1, 3, 30])):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        return bytes(changed)

    return change


def _instead(make, of_bin=False):
    """Something else in the place of a file."""

    def damage(path):
        place = path.with_suffix(".bin") if of_bin else path
        place.unlink()
        make(place)

    return damage


def foreign(path):
    """An IR of another tool."""
    x = ops.parameter([1, 4], np.float32)
    ov.save_model(ov.Model([ops.multiply(x, ops.constant(np.ones(4, np.float32)))], [x]), path)


def _bomb(depth, text="ha"):
    entities = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(depth))
    return f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY e0 "{text}">{entities}]><net>&e{depth};</net>'.encode()


def _declared(content, encoding):
    return content.replace(b'version="1.0"', f'version="1.0" encoding="{encoding}"'.encode(), 1)


def _deep(levels):
    return b"<net>" + b"<layers>" * levels + b"</layers>" * levels + b"</net>"


_NUMBERS = (None, "", "-1", "x", "7e3", "99999999999999999999")
_WORDS = (None, "", "Nothing", "\u00e4\u00df\u4e2d")
# Element, attribute, which of them, values.
_ATTRIBUTES = [
    ("net", "version", 0, (None, "", "0", "999", "x")),
    ("net", "name", 0, (None, "")),
    *(("layer", "id", which, (*_NUMBERS, "0")) for which in (3, _LAST)),
    *(("layer", "type", which, (*_WORDS, "Result", "Const")) for which in (0, 5, 14, _LAST)),
    ("layer", "version", 14, (None, "", "opset99", "extension")),
    ("layer", "name", 14, (None, "", "x")),
    *(("data", "element_type", which, (*_WORDS, "f64", "u1", "string", "dynamic")) for which in (0, 6)),
    *(
        (
            "data",
            "shape",
            which,
            (*_NUMBERS, "8,1", "-1,1,3,3", "?", "9999999999,9999999999", "?,1,99999,99999", "99999,1,8,8"),
        )
        for which in (0, 6)
    ),
    *(("data", "offset", which, (*_NUMBERS, "651", "100000")) for which in (1, 6)),
    *(("data", "size", which, (*_NUMBERS, "0", "5", "100000")) for which in (1, 6)),
    ("data", "levels", 0, (*_NUMBERS, "0", "1")),
    ("data", "strides", 0, (*_NUMBERS, "0,0", "1")),
    ("data", "pads_begin", 0, (*_NUMBERS, "-99,-99", "9999999,9999999")),
    ("port", "id", 5, (*_NUMBERS, "77")),
    *(("port", "precision", which, (*_WORDS, "FP64")) for which in (0, 6)),
    *(("edge", name, 9, (*_NUMBERS, "77")) for name in ("from-layer", "from-port", "to-layer", "to-port")),
    ("batch", "value", 0, (*_NUMBERS, "0")),
    (
        "layers",
        "value",
        _LAST,
        (
            *_WORDS,
            "[",
            "{}",
            "[3]",
            "[{}]",
            "null",
            '[{"name": 1}]',
            "[" * 9999,
            '[{"name": "a", "bits": "2", "shape": [1], "stored": "u2", "form": "integer"}]',
        ),
    ),
    (
        "call_form",
        "value",
        0,
        (
            *_WORDS,
            "{",
            "[]",
            "null",
            '{"form": {}, "names": []}',
            '{"form": 3, "names": 3}',
            '{"form": {"tuple": [{"tuple": [{"tensor": 1}]}, {"dict": {}}]}, "names": ["x", "y"]}',
            '{"form": {"tuple": [{"tuple": [{"tensor": -1}]}, {"dict": {}}]}, "names": ["x"]}',
            '{"form": {"tuple": [{"tuple": []}, {"value": {}}]}, "names": ["x"]}',
        ),
    ),
    ("target_device", "value", 0, (None, "", "TPU")),
    ("version", "value", 0, (None, "", "99.0")),
]
_FLIPS = 12
DAMAGES = {
    **{
        f"{tag}[{which}] {name}={value!r:.30}": _attribute(tag, name, which, value)
        for tag, name, which, values in _ATTRIBUTES
        for value in values
    },
    **{
        f"{tag}[{which}] {change}": _element(tag, which, change)
        for tag, which in (("layer", 0), ("layer", 6), ("layer", 14), ("layer", _LAST), ("layers", 0), ("edges", 0),
                           ("edge", 0), ("edge", 9), ("edge", _LAST), ("port", 0), ("dim", 1), ("data", 6),
                           ("rt_info", 0), ("nncf_slb", 0), ("batch", 0))
        for change in ("removed", "doubled", "emptied")
    },
    **{f"xml cut at {share:.0%}": _text(lambda content, share=share: content[: int(len(content) * share)])
       for share in (0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999)},
    **{f"bin cut at {share:.0%}": _bin(lambda content, share=share: content[: int(len(content) * share)])
       for share in (0, 0.01, 0.5, 0.99)},
    **{f"xml flipped {seed}": _text(_flipped(seed)) for seed in range(_FLIPS)},
    **{f"bin flipped {seed}": _bin(_flipped(seed)) for seed in range(_FLIPS)},
    "bin longer": _bin(lambda content: content + bytes(1000)),
    "bin all ones": _bin(lambda content: b"\xff" * len(content)),
    "NUL bytes": _text(lambda content: content[:5000] + bytes(9) + content[5000:]),
    "NUL bytes only": _text(lambda content: bytes(len(content))),
    "BOM": _text(lambda content: b"\xef\xbb\xbf" + content),
    "UTF-16": _text(lambda content: _declared(content, "UTF-16").decode().encode("utf-16")),
    "UTF-16 declared": _text(lambda content: _declared(content, "UTF-16")),
    "unknown encoding": _text(lambda content: _declared(content, "klingon")),
    "encoding of no text": _text(lambda content: _declared(content, "hex")),
    "UTF-7": _text(lambda content: _declared(content, "UTF-7")),
    "Latin-1 letters": _text(lambda content: content.replace(b"Model0", b"Mod\xe4ll")),
    "lines of Windows": _text(lambda content: content.replace(b"\n", b"\r\n")),
    "text behind the end": _text(lambda content: content + b"and more"),
    "twice": _text(lambda content: content + content),
    "entities": _text(lambda content: _bomb(9)),
    "many entities": _text(lambda content: _bomb(3, "a" * 200_000)),
    "entity of a file": _text(lambda content: b'<!DOCTYPE net [<!ENTITY e SYSTEM "file:///etc/hostname">]><net>&e;</net>'),
    "deep": _text(lambda content: _deep(1000)),
    "very deep": _text(lambda content: _deep(200_000)),
    "web page": _text(lambda content: b"<html></html>"),
    "only the root": _text(lambda content: b"<net/>"),
    "pointer of Git LFS": _text(lambda content: b"version https://git-lfs.github.com/spec/v1\nsize 1\n"),
    "bin as xml": lambda path: path.write_bytes(path.with_suffix(".bin").read_bytes()),
    "xml as bin": lambda path: path.with_suffix(".bin").write_bytes(path.read_bytes()),
    "another tool's": foreign,
    "xml gone": lambda path: path.unlink(),
    "bin gone": lambda path: path.with_suffix(".bin").unlink(),
    "xml a folder": _instead(os.mkdir),
    "bin a folder": _instead(os.mkdir, of_bin=True),
    "xml a pipe": _instead(os.mkfifo),
    "bin a pipe": _instead(os.mkfifo, of_bin=True),
    "xml a loop": _instead(lambda place: os.symlink(place, place)),
    "bin a loop": _instead(lambda place: os.symlink(place, place), of_bin=True),
    "xml an empty device": _instead(lambda place: os.symlink("/dev/null", place)),
    "bin an empty device": _instead(lambda place: os.symlink("/dev/null", place), of_bin=True),
    "xml an endless device": _instead(lambda place: os.symlink("/dev/zero", place)),
    "bin an endless device": _instead(lambda place: os.symlink("/dev/zero", place), of_bin=True),
    "xml a link to nothing": _instead(lambda place: os.symlink("nothing", place)),
    "xml not to be read": lambda path: path.chmod(0),
    "bin not to be read": lambda path: path.with_suffix(".bin").chmod(0),
}  # fmt: skip
