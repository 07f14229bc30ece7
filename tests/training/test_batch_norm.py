"""Batch-norm statistics over a list of micro-batches equal what PyTorch computes one after another, and over a whole set."""

import torch
from torch import nn

from chestseg.training.batch_norm import BatchNorms


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, momentum=0.3))


def recorded(net: nn.Module, batches: torch.Tensor) -> tuple[BatchNorms, torch.Tensor, torch.Tensor]:
    norms = BatchNorms(net)
    before = norms.read()
    rows = torch.zeros(len(batches), norms.width)
    with torch.no_grad(), norms.recording():
        for number, batch in enumerate(batches):
            net(batch)
            rows[number] = norms.read()
    return norms, before, rows


def test_folding_equals_pytorchs_running_average() -> None:
    batches = torch.randn(5, 4, 1, 12, 12)
    plain, ours = network(), network()
    with torch.no_grad():
        for batch in batches:
            plain(batch)
    norms, before, rows = recorded(ours, batches)
    norms.fold(before, rows)
    norms.count(5)
    for one, other in zip(plain.buffers(), ours.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    assert [m.momentum for m in norms.layers] == [0.1, 0.3]


def test_pooled_statistics_are_those_of_all_images_at_once() -> None:
    net = network()[:2]
    batches = torch.randn(64, 2, 1, 12, 12) * 3 + torch.randn(64, 1, 1, 1, 1)
    norms, _, rows = recorded(net, batches)
    norms.pool(rows)
    with torch.no_grad():
        values = net[0](batches.flatten(0, 1))
    torch.testing.assert_close(net[1].running_mean, values.mean((0, 2, 3)))
    # The micro-batches' own variances are unbiased ones, hence not equal to the last digit.
    torch.testing.assert_close(net[1].running_var, values.var((0, 2, 3)), rtol=5e-3, atol=0)


def test_layers_in_evaluation_mode_are_left_alone() -> None:
    net = network()
    net[1].eval()
    norms = BatchNorms(net)
    assert norms.width == 4


def test_a_network_without_batch_norm_is_folded_on_whatever_device() -> None:
    norms = BatchNorms(nn.Conv2d(1, 1, 1))
    # A device without memory stands for a GPU: tensors of two devices meet in an error there too.
    norms.fold(norms.read(), torch.zeros(3, norms.width, device="meta"))
    assert norms.read().shape == (0,)
