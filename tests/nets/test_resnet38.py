"""ResNet38: layers, what is frozen, and the published file's format."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from wsss.nets.backbones import build_backbone
from wsss.nets.resnet38 import Basic, Bottleneck, ResNet38
from wsss.nets.weights import load_state
from wsss.settings.sections import BackboneSection

from ..conftest import ROOT

LIST_MAGIC = 0x112
ARRAY_V1, ARRAY_V2 = 0xF993FAC8, 0xF993FAC9


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return ResNet38().eval()


def mxnet_name(key):
    """b3_1.conv_branch2a.weight to arg:res3b1_branch2a_weight, as the published file says it."""
    block, *rest = key.split(".")
    if block == "conv1a":
        return "arg:conv1a_weight"
    tensor = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
    if block == "bn7":
        return ("aux:" if "running" in rest[0] else "arg:") + f"bn7_{tensor[rest[0]]}"
    number, _, further = block[1:].partition("_")
    place = f"{number}b{further}" if further else f"{number}a"
    kind, branch = rest[0].split("_")
    if kind == "conv":
        return f"arg:res{place}_{branch}_weight"
    return ("aux:" if "running" in rest[1] else "arg:") + f"bn{place}_{branch}_{tensor[rest[1]]}"


def mxnet_file(arrays, *, version=ARRAY_V2):
    out = struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))
    for array in arrays.values():
        if version == ARRAY_V2:
            out += struct.pack("<Ii", ARRAY_V2, 0)
        elif version == ARRAY_V1:
            out += struct.pack("<I", ARRAY_V1)
        width = "I" if version == 0 else "q"
        out += struct.pack(f"<I{array.ndim}{width}", array.ndim, *array.shape)
        out += struct.pack("<iii", 1, 0, 0) + array.astype("<f4").tobytes()
    out += struct.pack("<Q", len(arrays))
    for key in arrays:
        out += struct.pack("<Q", len(key)) + key.encode()
    return out


SMALL = {
    "arg:conv1a_weight": "conv1a.weight",
    "arg:bn7_gamma": "bn7.weight",
    "aux:bn7_moving_var": "bn7.running_var",
    "arg:linear1000_weight": "",
    "arg:res4b3_branch2b1_weight": "b4_3.conv_branch2b1.weight",
    "aux:bn6a_branch2b2_moving_mean": "b6.bn_branch2b2.running_mean",
}
"""Names of the published file, and of the network; the classifier is left out."""


def convert(source, target):
    words = [sys.executable, "docs/convert_resnet38.py", str(source), str(target)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


def test_the_features_have_the_papers_size(net):
    with torch.no_grad():
        low, last = net.pyramid(torch.randn(1, 3, 65, 48))
    assert tuple(last.shape) == (1, 4096, 9, 6)  # 65 -> 33 -> 17 -> 9
    assert tuple(low.shape) == (1, 256, 17, 12)
    assert (last >= 0).all()


def test_channels_dilations_and_strides_are_the_sheets(net):
    blocks = {name: block for name, block in net.named_children() if isinstance(block, Basic | Bottleneck)}
    found = {
        name: (b.conv_branch1.out_channels if hasattr(b, "conv_branch1") else 0, b.conv_branch2a.stride[0])
        for name, b in blocks.items()
    }
    assert len(blocks) == 3 + 3 + 6 + 3 + 2
    projected = {name: v for name, v in found.items() if v[0]}
    assert projected == {
        "b2": (128, 2),
        "b3": (256, 2),
        "b4": (512, 2),
        "b5": (1024, 1),
        "b6": (2048, 1),
        "b7": (4096, 1),
    }
    dilated = [blocks[n] for n in ("b4", "b5", "b5_1", "b5_2")]
    dilations = [(b.conv_branch2a.dilation[0], b.conv_branch2b1.dilation[0]) for b in dilated]
    assert dilations == [(1, 1), (1, 2), (2, 2), (2, 2)]
    assert [blocks[n].conv_branch2b1.dilation[0] for n in ("b6", "b7")] == [4, 4]
    assert [(blocks[n].dropout_2b1.p, blocks[n].dropout_2b2.p) for n in ("b6", "b7")] == [(0.3, 0.3), (0.5, 0.5)]
    assert not any(name.endswith("bias") and "bn" not in name for name, _ in net.named_parameters())
    assert round(sum(p.numel() for p in net.parameters()) / 1e6) == 105


def test_batch_normalisation_never_trains_and_frozen_blocks_do_not():
    net = build_backbone(BackboneSection(name="resnet38", weights="none", output_stride=8, frozen_stride=2))
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert not any("bn" in name for name in trained)
    assert not any(name.startswith(("conv1a", "b2")) for name in trained)
    assert {name.split(".")[0][:2] for name in trained} == {"b3", "b4", "b5", "b6", "b7"}
    assert len(net.pretrained()) == len(trained)
    whole = build_backbone(BackboneSection(name="resnet38", weights="none", output_stride=8, frozen_stride=1))
    assert whole.conv1a.weight.requires_grad


@pytest.mark.parametrize("version", [ARRAY_V2, ARRAY_V1, 0])
def test_the_published_format_is_converted_without_mxnet(tmp_path, version):
    draw = np.random.default_rng(0)
    arrays = {name: draw.normal(size=(2, 3, 1 + k)).astype(np.float32) for k, name in enumerate(SMALL)}
    (tmp_path / "w.params").write_bytes(mxnet_file(arrays, version=version))
    done = convert(tmp_path / "w.params", tmp_path / "w.safetensors")
    assert done.returncode == 0, done.stderr
    found = load_state(tmp_path / "w.safetensors")
    assert sorted(found) == sorted(filter(None, SMALL.values()))
    for key, name in SMALL.items():
        assert not name or np.array_equal(found[name].numpy(), arrays[key])


@pytest.mark.slow
def test_a_whole_file_fills_the_network(net, tmp_path):
    """Every tensor of the network has its place in the file: state dict -> the file's names -> state dict."""
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    (tmp_path / "w.params").write_bytes(mxnet_file({mxnet_name(k): v.numpy() for k, v in state.items()}))
    assert convert(tmp_path / "w.params", tmp_path / "w.safetensors").returncode == 0
    weights = str(tmp_path / "w.safetensors")
    made = build_backbone(BackboneSection(name="resnet38", weights=weights, output_stride=8))
    assert all(torch.equal(v, made.state_dict()[k]) for k, v in state.items())


def test_other_files_are_not_converted(tmp_path):
    for content in (b"", b"PK" + bytes(100), mxnet_file({"arg:bn7_gamma": np.ones(3)})[:-3]):
        (tmp_path / "w.params").write_bytes(content)
        done = convert(tmp_path / "w.params", tmp_path / "w.safetensors")
        assert done.returncode == 1
        assert "w.params: not an MXNet parameter file, or cut short" in done.stderr
        assert not (tmp_path / "w.safetensors").exists()


def test_what_does_not_fit_is_refused(net, tmp_path):
    state = dict(net.state_dict())
    del state["b5.conv_branch1.weight"]
    torch.save(state, tmp_path / "less.pth")
    torch.save(dict(net.state_dict()) | {"bn7.bias": torch.zeros(3)}, tmp_path / "other.pth")
    for weights, stride, said in (
        (tmp_path / "less.pth", 8, r"less\.pth: 1 tensors of ResNet38 .* are missing, e\.g\. b5\.conv_branch1\.weight"),
        (tmp_path / "other.pth", 8, r"bn7\.bias has shape \(3,\), ResNet38 .* expects \(4096,\)"),
        ("w.params", 8, r"found MXNet's format.*python docs/convert_resnet38\.py w\.params w\.safetensors"),
        ("none", 16, "resnet38 has stride 8 only"),
        ("package", 8, "for resnet38 use none or a path"),
        ("hub", 8, "'hub', which does not have resnet38; use none or a path"),
    ):
        with pytest.raises(ValueError, match=said):
            build_backbone(BackboneSection(name="resnet38", weights=str(weights), output_stride=stride))
