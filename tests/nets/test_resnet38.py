"""ResNet38: layers, what is frozen, and the published file's format."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from wsss.nets.backbones import build_backbone
from wsss.nets.resnet38 import ARRAY_V1, ARRAY_V2, LIST_MAGIC, Basic, Bottleneck, ResNet38, read_params
from wsss.settings.sections import BackboneSection


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


def mxnet_file(arrays, *, version=ARRAY_V2, kind=0):
    out = struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))
    for array in arrays.values():
        if version == ARRAY_V2:
            out += struct.pack("<Ii", ARRAY_V2, 0)
        elif version == ARRAY_V1:
            out += struct.pack("<I", ARRAY_V1)
        width = "I" if version == 0 else "q"
        out += (
            struct.pack(f"<I{array.ndim}{width}", array.ndim, *array.shape)
            + struct.pack("<iii", 1, 0, kind)
            + array.astype("<f4").tobytes()
        )
    out += struct.pack("<Q", len(arrays))
    for key in arrays:
        out += struct.pack("<Q", len(key)) + key.encode()
    return out


def small(
    names=(
        "arg:conv1a_weight",
        "arg:bn7_gamma",
        "aux:bn7_moving_var",
        "arg:linear1000_weight",
        "arg:res4b3_branch2b1_weight",
        "aux:bn6a_branch2b2_moving_mean",
    ),
):
    draw = np.random.default_rng(0)
    return {name: draw.normal(size=(2, 3, 1 + k)).astype(np.float32) for k, name in enumerate(names)}


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
    assert [
        (blocks[n].conv_branch2a.dilation[0], blocks[n].conv_branch2b1.dilation[0])
        for n in ("b4", "b5", "b5_1", "b5_2")
    ] == [
        (1, 1),
        (1, 2),
        (2, 2),
        (2, 2),
    ]
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
def test_the_published_format_is_read_without_mxnet(tmp_path, version):
    arrays = small()
    (tmp_path / "w.params").write_bytes(mxnet_file(arrays, version=version))
    found = read_params(tmp_path / "w.params")
    names = [
        "conv1a.weight",
        "bn7.weight",
        "bn7.running_var",
        "b4_3.conv_branch2b1.weight",
        "b6.bn_branch2b2.running_mean",
    ]
    assert list(found) == names
    for name, key in zip(names, [k for k in arrays if "linear" not in k], strict=True):
        np.testing.assert_array_equal(found[name].numpy(), arrays[key])


@pytest.mark.slow
def test_a_whole_file_fills_the_network(net, tmp_path):
    """Every tensor of the network has its place in the file: state dict -> the file's names -> state dict."""
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    (tmp_path / "w.params").write_bytes(mxnet_file({mxnet_name(k): v.numpy() for k, v in state.items()}))
    made = build_backbone(BackboneSection(name="resnet38", weights=str(tmp_path / "w.params"), output_stride=8))
    assert all(torch.equal(v, made.state_dict()[k]) for k, v in state.items())


def test_damaged_files_are_one_clear_error(tmp_path):
    data = mxnet_file(small())
    path = tmp_path / "w.params"
    for broken in (
        b"",
        data[:10],
        data[:100],
        data[:-3],
        b"PK" + data,
        mxnet_file(small(), kind=2),
        mxnet_file(small(("arg:strange",))),
    ):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"w\.params: not an MXNet parameter file, or cut short"):
            read_params(path)


def test_what_does_not_fit_is_refused(net, tmp_path):
    state = dict(net.state_dict())
    del state["b5.conv_branch1.weight"]
    torch.save(state, tmp_path / "less.pth")
    torch.save(dict(net.state_dict()) | {"bn7.bias": torch.zeros(3)}, tmp_path / "other.pth")
    for weights, stride, said in (
        (tmp_path / "less.pth", 8, r"less\.pth: b5\.conv_branch1\.weight is missing"),
        (tmp_path / "other.pth", 8, r"bn7\.bias has shape \(3,\), expected \(4096,\)"),
        ("none", 16, "resnet38 has stride 8 only"),
        ("package", 8, "does not have resnet38"),
    ):
        with pytest.raises(ValueError, match=said):
            build_backbone(BackboneSection(name="resnet38", weights=str(weights), output_stride=stride))
