"""`wsss export`: the ONNX file gives what torch gives, at every size."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from wsss.cli.export_onnx import Exported, PaddedConv2d, export_onnx, fix_padding
from wsss.nets.backbones import SubgridConv2d
from wsss.nets.checkpoints import save_network
from wsss.nets.segmenters import Segmenter, build_segmenter
from wsss.settings.sections import BackboneSection, PslSection
from wsss.settings.stage_settings import SegmenterSettings
from wsss.stages.segment.inference import load_segmenter

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
SCALED_STRIDE_8 = BackboneSection(name="tf_efficientnet_lite0", weights="none", output_stride=8)
"""TensorFlow's padding, and depthwise convolutions dilated 2 and 4 times, which run on sub-grids."""


def agree(session: onnxruntime.InferenceSession, exported: Exported, shape: tuple[int, ...]) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = exported(image).numpy()
    found = session.run(None, {"image": image.numpy()})[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_onnx_agrees_with_torch_at_other_sizes(segmenter, tmp_path):
    export_onnx(model=segmenter, output=tmp_path / "net.onnx")
    assert [f.name for f in sorted(tmp_path.iterdir())] == ["net.json", "net.onnx"]  # the weights are inside
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["n", 3, "height", "width"]
    model = load_segmenter(segmenter, device=torch.device("cpu")).model
    exported = Exported(model, score="sigmoid", p=0.1, weighted=True).eval()
    # even and odd multiples of 16, no multiples, and an image smaller than a cell
    for shape in ((1, 3, 64, 80), (2, 3, 80, 112), (1, 3, 48, 48), (3, 3, 75, 50), (1, 3, 1, 33)):
        agree(session, exported, shape)
    facts = json.loads((tmp_path / "net.json").read_text())
    assert facts["classes"] == ["background", "class1", "class2"]
    assert (facts["stride"], facts["multiple"]) == (4, 16)


def test_a_padded_image_keeps_its_grid(segmenter):
    """The network pads as prediction does: the last row and column are repeated."""
    model = load_segmenter(segmenter, device=torch.device("cpu")).model
    exported = Exported(model, score="sigmoid", p=0.1, weighted=False).eval()
    image = torch.randn(1, 3, 50, 75)
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (0, 14), (0, 5)), mode="edge"))
    with torch.inference_mode():
        assert torch.equal(exported(image), exported(padded))


def lite0() -> Segmenter:
    torch.manual_seed(0)
    made = build_segmenter(network="deeplabv3plus", weights="none", backbone=SCALED_STRIDE_8, num_classes=2)
    return made.eval()


def test_constant_padding_changes_nothing():
    model, image = lite0(), torch.randn(1, 3, 72, 88)
    with torch.inference_mode():
        before = model(image)
        fix_padding(model)
        after = model(image)
    replaced = [m for m in model.modules() if isinstance(m, PaddedConv2d)]
    assert any(isinstance(m.conv, SubgridConv2d) for m in replaced)
    assert any(m.conv.stride == (2, 2) for m in replaced)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "name", "stride"),
    [
        ("deeplabv3plus", "tf_efficientnet_lite0", 16),
        ("deeplabv3plus", "tf_efficientnet_lite0", 8),
        ("deeplabv3plus", "resnet18", 16),
        ("deeplabv3plus", "resnet38", 8),
        ("largefov", "vgg16_largefov", 8),
        ("deeplabv2", "resnet18", 16),
    ],
)
def test_every_network_can_be_exported(network, name, stride, tmp_path):
    """Untrained, at odd multiples of what its sides are padded to."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = BackboneSection(name=name, weights="none", output_stride=stride)
    model = build_segmenter(network=network, weights="none", backbone=backbone, num_classes=2).eval()
    given = SegmenterSettings(network=network, weights="none", backbone=backbone, psl=PslSection(enabled=True))
    meta = {"stage": "train_segmenter", "classes": ["background", "a", "b"], "settings": given.model_dump(mode="json")}
    save_network(tmp_path / "segmenter.safetensors", state=model.state_dict(), meta=meta)
    export_onnx(model=tmp_path / "segmenter.safetensors", output=tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    exported = Exported(model, score="sigmoid", p=0.1, weighted=True).eval()
    for height, width in ((5, 7), (3, 4)):
        agree(session, exported, (1, 3, height * model.multiple, width * model.multiple))


def test_layers_that_pad_by_the_size_are_refused(segmenter, tmp_path, monkeypatch):
    class AvgPool2dSame(torch.nn.AvgPool2d):
        """A layer of that kind which has no constant form here."""

    real = load_segmenter

    def changed(path, *, device):
        trained = real(path, device=device)
        trained.model.image[0] = AvgPool2dSame(3)
        return trained

    monkeypatch.setattr("wsss.cli.export_onnx.load_segmenter", changed)
    with pytest.raises(ValueError, match="cannot express deeplabv3plus on test_efficientnet: its layer AvgPool2dSame"):
        export_onnx(model=segmenter, output=tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
