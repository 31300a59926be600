"""ESOL-style expansion and shrinkage: what moves, which way, and the limit cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny_set import write_tiny_set
from wsss.nets.checkpoints import load_network
from wsss.nets.deformable import TAPS, Sampler
from wsss.settings.config import load
from wsss.settings.sections import (
    AugmentSection,
    BackboneSection,
    ClassifierSection,
    ComputeSection,
    EsolSection,
    OptimiserSection,
)
from wsss.settings.stage_settings import ClassifierSettings
from wsss.stages.seeds import cam
from wsss.stages.seeds.esol import EXPANSION, SHRINKAGE, Method, area_loss, clip_features
from wsss.stages.seeds.train_classifier import train_classifier
from wsss.workflow.graph import Graph

BACKBONE = BackboneSection(name="test_efficientnet", weights="none", freeze_batchnorm=False, frozen_stride=1)
CLASSIFIER = ClassifierSection(
    epochs=1,
    min_steps=1,
    batch_size=4,
    augment=AugmentSection(crop=64, resize_min=56, resize_max=80),
    optimiser=OptimiserSection(lr=1e-3, weight_decay=0.1),
)


def build(round, *, seed=0, **options):
    torch.manual_seed(seed)
    return Method(options=options).build(3, round=round, backbone=BACKBONE, previous=None)


def batch(n=4, side=64):
    draw = torch.Generator().manual_seed(1)
    labels = torch.zeros(n, 3)
    labels[torch.arange(n), torch.arange(n) % 3] = 1
    return {"image_n": torch.randn(n, 3, side, side, generator=draw), "labels": labels}


@pytest.mark.parametrize("round", [EXPANSION, SHRINKAGE])
def test_an_untrained_sampler_without_a_clip_is_plain_cam(round):
    plain, model = build(1).eval(), build(round, clip_ratio=1.0).eval()
    image_n = torch.randn(2, 3, 64, 80)
    with torch.no_grad():
        assert torch.equal(plain(image_n), model(image_n))
        assert torch.equal(Method().scores(plain, image_n, [1, 3]), Method().scores(model, image_n, [1, 3]))


def test_outer_taps_blur_what_the_centre_keeps():
    features = torch.randn(2, 4, 6, 7)
    found = Sampler(4, side_weight=0.05, reverse=0.0)(features)
    mean = torch.nn.functional.avg_pool2d(features, 3, stride=1, padding=1) * 9  # zeros outside
    assert torch.allclose(found, 0.55 * features + 0.05 * mean, atol=1e-6)


def test_offsets_are_rows_then_columns_of_each_tap():
    sampler, features = Sampler(4, side_weight=0.0, reverse=0.0), torch.randn(1, 4, 6, 7)
    with torch.no_grad():
        sampler.offsets.bias[2 * (TAPS // 2)] = 2.0  # the centre looks two rows down
        found = sampler(features)
    assert torch.equal(found[:, :, :-2], features[:, :, 2:])
    with torch.no_grad():
        sampler.offsets.bias[2 * (TAPS // 2) + 1] = 1.0  # and one column right
        assert torch.equal(sampler(features)[:, :, :-2, :-1], features[:, :, 2:, 1:])


@pytest.mark.parametrize(("side", "taps"), [(0.0, {TAPS // 2}), (0.05, set(range(TAPS)))])
def test_a_tap_of_weight_zero_does_not_learn(side, taps):
    sampler = Sampler(4, side_weight=side, reverse=0.0)
    sampler(torch.randn(2, 4, 6, 7)).square().sum().backward()
    moving = sampler.offsets.bias.grad.reshape(TAPS, 2).abs().sum(1) > 0
    assert set(moving.nonzero().flatten().tolist()) == taps


def test_taps_of_weight_zero_that_do_not_learn_are_left_out_without_a_difference():
    found = []
    for learns in (True, False):
        torch.manual_seed(0)
        sampler = Sampler(5, side_weight=0.0, reverse=0.0)
        torch.nn.init.normal_(sampler.offsets.weight, std=0.5)
        with torch.no_grad():
            sampler.kernel[:, :, 1, 1].normal_()
        sampler.kernel.requires_grad_(learns)
        assert sampler._centre_alone() is not learns
        features = torch.randn(2, 5, 9, 8, requires_grad=True)
        out = sampler(features)
        found.append([out, *torch.autograd.grad(out.square().sum(), [features, *sampler.offsets.parameters()])])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_dense_kernel_starts_as_one_a_channel_and_mixes_channels_once_it_has_learnt_to():
    torch.manual_seed(0)
    one, dense = (Sampler(4, side_weight=0.05, reverse=0.0, form=form) for form in ("channel", "dense"))
    torch.nn.init.normal_(one.offsets.weight, std=0.1)
    dense.offsets.load_state_dict(one.offsets.state_dict())
    features = torch.randn(2, 4, 6, 7)
    with torch.no_grad():
        assert torch.allclose(one(features), dense(features), atol=1e-6)
        dense.kernel[0, 1, 1, 1] = 1.0
        assert not torch.allclose(one(features)[:, 0], dense(features)[:, 0])
    assert Method(options={"kernel": "dense"}).build(
        3, round=EXPANSION, backbone=BACKBONE, previous=None
    ).sampler.kernel.shape == (256, 256, 3, 3)


def test_clipping():
    features = torch.tensor([[[[1.0, 4.0, -2.0]], [[-1.0, -3.0, 3.0]]]])
    assert torch.equal(clip_features(features, ratio=0.5), torch.tensor([[[[1.0, 2.0, -2.0]], [[-1.0, -3.0, 1.5]]]]))
    assert torch.equal(
        clip_features(features, ratio=0.5, of="map"), torch.tensor([[[[1.0, 2.0, -2.0]], [[-1.0, -3.0, 2.0]]]])
    )
    assert torch.equal(clip_features(-features.abs(), ratio=0.5), -features.abs())
    assert clip_features(features, ratio=1.0) is features


def test_the_area_is_the_filled_share_of_present_classes():
    maps = torch.tensor(
        [
            [[[4.0, 2.0], [-1.0, 0.0]], [[9.0, 9.0], [9.0, 9.0]]],
            [[[1.0, 1.0], [1.0, 1.0]], [[-1.0, -1.0], [-1.0, -1.0]]],
        ]
    )
    assert area_loss(maps, torch.tensor([[1.0, 0], [0, 0]])).item() == pytest.approx(1.5 / 4)
    assert area_loss(maps, torch.tensor([[1.0, 0], [1, 1]])).item() == pytest.approx((1.5 / 4 + 1 + 0) / 3)
    assert area_loss(maps, torch.zeros(2, 2)).item() == 0


def step(round, *, rate, **options):
    """Classification loss before and after one step of gradient descent on the round's losses, in evaluation mode."""
    method, inputs = Method(options=options), batch()
    model = build(round, **options).eval()
    head = (model if round == EXPANSION else model.before).before.head
    head.weight.data *= 100  # an untrained head says nothing
    model.sampler.offsets.bias.data += (
        0.3  # at a whole number bilinear sampling has a kink, where the gradient holds on one side only
    )
    _, moved = method.trainable(model, round=round)
    losses = [
        cam.Method().losses(model(inputs["image_n"]), inputs, settings=CLASSIFIER, round=1)["classification"].item()
    ]
    total = sum(method.losses(model(inputs["image_n"]), inputs, settings=CLASSIFIER, round=round).values())
    for parameter, gradient in zip(moved, torch.autograd.grad(total, moved), strict=True):
        assert gradient.abs().sum() > 0
        parameter.data -= rate * gradient / gradient.abs().max()
    losses.append(
        cam.Method().losses(model(inputs["image_n"]), inputs, settings=CLASSIFIER, round=1)["classification"].item()
    )
    return losses


def test_expansion_raises_the_classification_loss_and_shrinkage_lowers_it():
    before, after = step(EXPANSION, rate=0.01, alpha=1.0, clip_ratio=1.0)
    assert after > before
    before, after = step(SHRINKAGE, rate=0.01, gamma=0.0, clip_ratio=1.0)
    assert after < before


def test_reversal_turns_the_gradient_of_the_offsets_round():
    inputs, gradients = batch(), {}
    for gradient in ("frozen", "reversal"):
        options = {"gradient": gradient, "alpha": 0.5, "clip_ratio": 1.0}
        method, model = Method(options=options), build(EXPANSION, **options).eval()
        method.trainable(model, round=EXPANSION)
        total = sum(method.losses(model(inputs["image_n"]), inputs, settings=CLASSIFIER, round=EXPANSION).values())
        total.backward()
        gradients[gradient] = model.sampler.offsets.bias.grad.clone()
        assert (model.sampler.kernel.grad is None) == (gradient == "frozen")
    assert torch.allclose(gradients["frozen"], gradients["reversal"], atol=1e-9)
    assert gradients["frozen"].abs().sum() > 0


def test_stages_have_their_own_length_and_rate():
    method = Method(options={"expansion": {"epochs": 3, "lr": 0.5}})
    assert method.training(CLASSIFIER, round=1) is CLASSIFIER
    own = method.training(CLASSIFIER, round=EXPANSION)
    assert (own.epochs, own.optimiser.lr, own.optimiser.head_lr_factor, own.optimiser.weight_decay) == (
        3,
        0.5,
        1.0,
        0.0,
    )
    assert own.augment == CLASSIFIER.augment
    assert own.passes(steps=30) == 3
    assert (
        method.training(CLASSIFIER.model_copy(update={"min_steps": 150}), round=EXPANSION).passes(steps=30) == 5
    )  # a small set is passed over more often, as in round 1
    assert method.training(CLASSIFIER, round=SHRINKAGE).epochs == EsolSection().shrinkage.epochs


@pytest.mark.parametrize(("gradient", "moved"), [("frozen", {"offsets"}), ("reversal", {"offsets", "kernel"})])
def test_a_round_moves_its_sampler_and_nothing_else(tmp_path, gradient, moved):
    """Through the stage, with weight decay and unfrozen BatchNorm: all other tensors and statistics stay equal."""
    draw = np.random.default_rng(0)
    index, _ = write_tiny_set(
        tmp_path, {f"i{k}": (draw.integers(0, 256, (64, 80, 3)).astype(np.uint8), [1 + k % 3]) for k in range(8)}
    )
    states, previous = {}, None
    for round in (1, EXPANSION, SHRINKAGE):
        options = {"gradient": gradient, "side_weight": 0.05}
        settings = ClassifierSettings(
            kind="cam" if round == 1 else "esol",
            round=round,
            backbone=BACKBONE,
            classifier=CLASSIFIER,
            options={} if round == 1 else options,
        )
        output = tmp_path / f"{round}.pt"
        train_classifier(
            index=index, regions=[], saliency=[], previous=previous, settings=settings,
            compute=ComputeSection(device="cpu", threads=1, workers=0),
            output=output, record=tmp_path / f"{round}.json",
        )  # fmt: skip
        states[round], previous = load_network(output)[0], output
    inner = "before."
    for round in (EXPANSION, SHRINKAGE):
        before, after = states[round - 1], states[round]
        assert {inner + name for name in before} == {name for name in after if name.startswith(inner)}
        assert all(torch.equal(tensor, after[inner + name]) for name, tensor in before.items())
        start = build(round, gradient=gradient, side_weight=0.05).state_dict()
        changed = {
            name.split(".")[1]
            for name in after
            if not name.startswith(inner) and not torch.equal(after[name], start[name])
        }
        assert changed == moved


def test_rounds_are_the_methods_stages():
    g = Graph(
        load(
            {
                "methods": ["cam", "esol", "wide"],
                "recipes": {"wide": {"kind": "esol", "seeds": {"esol": {"alpha": 0.1}}}},
                "segment": {"methods": []},
            }
        )
    )
    assert [g.max_rounds(m) for m in g.config.methods] == [1, 3, 3]
    assert [g.round_source("esol", r) for r in (1, 2, 3)] == ["cam", "esol", "esol"]
    assert [g.round_source("wide", r) for r in (1, 2)] == ["cam", "wide"]
    assert g.previous_classifier("esol", 2) == ["results/scenes/cam/seeds/round-1/classifier.pt"]
    assert g.previous_classifier("wide", 3) == ["results/scenes/wide/seeds/round-2/classifier.pt"]
    assert g.previous_classifier("cam", 1) == []
    assert g.earlier_regions("esol", 3) == []
