"""Both losses against slow references, written with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from linnaea.train.bundled.encoders.losses import contrastive_loss, vocabulary_loss


def unit(rng, *shape):
    return torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=shape)), dim=-1)


def slow_contrastive(image, text, scale, own, true):
    b, u = len(image), len(text)
    logit = [[float(scale * image[i] @ text[j]) for j in range(u)] for i in range(b)]
    to_text = 0.0
    for i in range(b):
        allowed = [j for j in range(u) if j == own[i] or not true[i][j]]
        to_text -= logit[i][own[i]] - math.log(sum(math.exp(logit[i][j]) for j in allowed))
    per_text = []
    for j in range(u):
        positives = [i for i in range(b) if true[i][j]]
        if positives:
            norm = math.log(sum(math.exp(logit[i][j]) for i in range(b)))
            mean = sum(norm - logit[i][j] for i in positives) / len(positives)
            per_text.append(mean - math.log(len(positives)))
    return (to_text / b + sum(per_text) / len(per_text)) / 2


def test_the_contrastive_loss_is_its_definition():
    rng = np.random.default_rng(0)
    image, text = unit(rng, 5, 4), unit(rng, 6, 4)
    own = torch.tensor([0, 1, 1, 3, 4])
    true = torch.zeros(5, 6, dtype=torch.bool)
    true[torch.arange(5), own] = True
    true[0, 1] = true[3, 0] = True
    loss = contrastive_loss(image, text, torch.tensor(7.0), own, true)
    assert loss.item() == pytest.approx(slow_contrastive(image, text, 7.0, own.tolist(), true.tolist()), abs=1e-6)


def test_a_text_that_is_true_of_an_image_does_not_push_it_away():
    image = torch.tensor([[1.0, 0.0]], requires_grad=True)
    text = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    true = torch.tensor([[True, True]])
    contrastive_loss(image, text, torch.tensor(5.0), torch.tensor([0]), true).backward()
    np.testing.assert_allclose(image.grad.numpy(), 0, atol=1e-6)


def test_the_vocabulary_loss_over_all_leaves_is_minus_the_log_of_the_taxons_mass():
    rng = np.random.default_rng(1)
    image, leaves = unit(rng, 3, 4), unit(rng, 8, 4)
    true = torch.zeros(3, 8, dtype=torch.bool)
    true[0, 2] = true[1, 3:6] = true[2, 7] = True
    mass = (6.0 * image @ leaves.T).softmax(1)
    expected = -torch.stack([(mass[i] * true[i]).sum().log() for i in range(3)]).mean()
    loss = vocabulary_loss(image, leaves, torch.tensor(6.0), torch.zeros(8), true)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_candidate_with_the_weight_of_three_counts_as_three():
    rng = np.random.default_rng(2)
    image, leaves = unit(rng, 2, 4), unit(rng, 3, 4)
    true = torch.tensor([[True, False, False], [False, True, False]])
    thrice = torch.cat([leaves, leaves[2:], leaves[2:]])
    true_thrice = torch.cat([true, true[:, 2:], true[:, 2:]], dim=1)
    weighted = vocabulary_loss(image, leaves, torch.tensor(4.0), torch.tensor([0, 0, math.log(3)]).double(), true)
    repeated = vocabulary_loss(image, thrice, torch.tensor(4.0), torch.zeros(5).double(), true_thrice)
    assert weighted.item() == pytest.approx(repeated.item(), abs=1e-6)
