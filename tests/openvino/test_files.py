"""Files that are not what they should be: one clear error, which names the file and what to do."""

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

import nncf_slb
from tests.openvino.exported import exported_small


def foreign(path):
    """An IR of another tool."""
    x = ops.parameter([1, 4], np.float32)
    ov.save_model(ov.Model([ops.multiply(x, ops.constant(np.ones(4, np.float32)))], [x]), path)


def without_bin(path):
    path.with_suffix(".bin").unlink()


def truncated_bin(path):
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-10])


def truncated_xml(path):
    path.write_text(path.read_text()[:500])


def no_xml_at_all(path):
    path.write_bytes(b"\x00\x01\x02 not xml")


def another_document(path):
    path.write_text("<html></html>")


def gone(path):
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (foreign, r"m\.xml: nncf_slb did not export this IR"),
        (without_bin, r"m\.bin: there is no such file, but m\.xml needs it; copy both"),
        (truncated_bin, r"m\.bin: it is truncated: [\d,]+ bytes where m\.xml needs [\d,]+; copy or export it again"),
        (truncated_xml, r"m\.xml: it is not a complete OpenVINO IR file .*export the model again"),
        (no_xml_at_all, r"m\.xml: it is not a complete OpenVINO IR file"),
        (another_document, r"its root element is <html>, not <net>"),
        (gone, r"m\.xml: there is no such file"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_file_that_cannot_be_used_is_named(command, damage, message, tmp_path):
    ctrl, path = exported_small(tmp_path)
    damage(path)
    with pytest.raises(nncf_slb.IrError, match=message):
        nncf_slb.inspect_openvino(path) if command == "inspect" else nncf_slb.verify_openvino(ctrl, path)


def test_a_name_without_xml_and_an_unknown_device_are_refused(tmp_path):
    _, path = exported_small(tmp_path)
    with pytest.raises(nncf_slb.IrError, match=r"an IR file ends in \.xml"):
        nncf_slb.inspect_openvino(path.with_suffix(".bin"))
    with pytest.raises(nncf_slb.DeviceError, match=r"device NO_SUCH: .*devices here: CPU"):
        nncf_slb.inspect_openvino(path, device="NO_SUCH")
