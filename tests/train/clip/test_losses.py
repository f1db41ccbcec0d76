"""The tiled losses are their plain definitions, and open_clip's, in value and gradient, on one rank and on several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F

from linnaea.datasets.group_ids import group_ids
from linnaea.train.clip import losses as contrastive
from linnaea.train.clip.gradient_caching import cached_backward
from linnaea.train.clip.losses import LevelConfig, info_nce, level_loss, sigmoid_loss, teacher_cosine_loss
from linnaea.train.distributed.tiled_similarities import group_means, log_sums

HERE = Path(__file__).parents[2]
GOLDEN = HERE / "golden" / "open_clip_losses.json"
PARTS = ("image", "text", "scale", "bias")
TOLERANCE = 1e-5


def made_inputs(n=12, d=6, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    unit = lambda width: F.normalize(torch.randn(n, width, dtype=dtype), dim=-1)
    return {
        "image": unit(d),
        "text": unit(d),
        "scale": torch.tensor(9.0, dtype=dtype),
        "bias": torch.tensor(-2.0, dtype=dtype),
        "teacher_image": unit(4),
        "teacher_text": unit(4),
        "teacher_scale": torch.tensor(5.0, dtype=dtype),
        "genus": torch.tensor([0, 1, 1, 0, 2, -1, 3, 3, 3, 4, -1, 0])[:n],
        "family": torch.tensor([0, 0, 0, 0, 1, 1, 1, -1, 2, 2, 2, 0])[:n],
    }


def dense_level_targets(given, genus, family):
    """[n, n] of targets, written out pair by pair."""
    n = len(given["image"])
    target = torch.zeros(n, n, dtype=torch.float64)
    for name, share in (("own", 1 - genus - family), ("genus", genus), ("family", family)):
        for i in range(n):
            same = [
                j for j in range(n) if name != "own" and given[name][i] >= 0 and given[name][i] == given[name][j]
            ] or [i]
            for j in same:
                target[i, j] += share / len(same)
    return target


def dense_losses(given, rank, ranks):
    """A rank's losses by their definitions, from whole matrices of logits."""
    rows = slice(rank * len(given["image"]) // ranks, (rank + 1) * len(given["image"]) // ranks)
    image, text, scale, bias = (given[name] for name in PARTS)
    logits = scale * image @ text.T
    own = torch.arange(len(image))[rows]
    both = lambda rowwise, columnwise: (rowwise + columnwise) / 2
    cross = lambda target: both(
        -(target * logits.log_softmax(1))[rows].sum(1).mean(), -(target * logits.T.log_softmax(1))[rows].sum(1).mean()
    )
    z = 2 * torch.eye(len(image), dtype=torch.float64) - 1
    teacher = given["teacher_scale"] * given["teacher_image"] @ given["teacher_text"].T
    return {
        "info_nce": both(F.cross_entropy(logits[rows], own), F.cross_entropy(logits.T[rows], own)),
        "sigmoid": -F.logsigmoid(z * (logits + bias))[rows].sum() / len(own),
        "distillation": both(
            -(teacher.softmax(1) * logits.log_softmax(1))[rows].sum(1).mean(),
            -(teacher.T.softmax(1) * logits.T.log_softmax(1))[rows].sum(1).mean(),
        ),
        "levels": cross(dense_level_targets(given, 0.2, 0.1)),
    }


def with_grad(given):
    return {name: value.clone().requires_grad_() if name in PARTS else value for name, value in given.items()}


def expected(given, ranks):
    """Each rank's loss, and the gradients of the sum of all ranks' losses; of the scalars, those of the mean."""
    found = {}
    for name in ("info_nce", "sigmoid", "distillation", "levels"):
        inputs = with_grad(given)
        values = [dense_losses(inputs, rank, ranks)[name] for rank in range(ranks)]
        parts = [inputs[part] for part in PARTS]
        image, text, *scalars = torch.autograd.grad(sum(values), parts, allow_unused=True)
        found[name] = {"loss": torch.stack(values).detach(), "image": image, "text": text}
        found[name] |= {part: g / ranks for part, g in zip(PARTS[2:], scalars, strict=True) if g is not None}
    return found


def run_ranks(job, given, ranks, folder):
    """What each of some real processes found."""
    torch.save(given, folder / "given.pt")
    found, running = [folder / f"found{rank}.pt" for rank in range(ranks)], []
    for rank in range(ranks):
        files = (folder / "store", folder / "given.pt", found[rank])
        command = [sys.executable, HERE / "rank_worker.py", job, rank, ranks, *files]
        running.append(subprocess.Popen(list(map(str, command)), env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"}))
    assert [process.wait(timeout=300) for process in running] == [0] * ranks
    return [torch.load(path) for path in found]


def joined(parts):
    """Ranks' results as one: rows in order, scalars' gradients averaged, as DDP does."""
    whole = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name == "loss":
            whole[name] = torch.stack(values)
        else:
            whole[name] = torch.cat(values) if values[0].ndim else torch.stack(values).mean()
    return whole


def assert_close(found, wanted, *, mean_loss=False, tolerance=TOLERANCE):
    for name, value in wanted.items():
        got = found[name].double()
        if mean_loss and name == "loss":
            got, value = got.mean(), value.mean()
        np.testing.assert_allclose(got.numpy(), value.numpy(), atol=tolerance, rtol=tolerance, err_msg=name)


@pytest.fixture(scope="module", params=[1, 2, 4])
def on_ranks(request, tmp_path_factory):
    given = made_inputs()
    return given, request.param, run_ranks("losses", given, request.param, tmp_path_factory.mktemp("ranks"))


# The target of relatives and of teachers is split between the two directions only in the mean over ranks.
@pytest.mark.parametrize(("name", "mean_loss"), [("info_nce", 0), ("sigmoid", 0), ("levels", 1), ("distillation", 0)])
def test_each_loss_is_its_definition_on_one_two_and_four_ranks(on_ranks, name, mean_loss):
    given, ranks, found = on_ranks
    assert_close(joined([part[name] for part in found]), expected(given, ranks)[name], mean_loss=mean_loss)


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("name", ["info_nce", "sigmoid", "distillation"])
def test_the_definitions_are_those_of_open_clip(name, ranks):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    given = {key: torch.tensor(value, dtype=torch.float64) for key, value in golden["inputs"].items()}
    given |= {key: value for key, value in made_inputs().items() if key in ("genus", "family")}
    wanted = {key: torch.tensor(value) for key, value in golden["losses"][str(ranks)][name].items()}
    assert_close(expected(given, ranks)[name], wanted)


def test_open_clip_beside_ours_gives_the_same():
    loss = pytest.importorskip("open_clip.loss")
    given = made_inputs(dtype=torch.float32)
    inputs = with_grad(given)
    ours = info_nce(inputs["image"], inputs["text"], inputs["scale"], tile=5)
    theirs = loss.ClipLoss()(inputs["image"], inputs["text"], inputs["scale"])
    parts = [inputs[name] for name in PARTS[:3]]
    for got, wanted in zip(torch.autograd.grad(ours, parts), torch.autograd.grad(theirs, parts), strict=True):
        torch.testing.assert_close(got, wanted, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("tile", [1, 5, 12, 100])
def test_the_size_of_a_tile_changes_nothing(tile):
    given = made_inputs()
    row, column = log_sums(given["image"], given["text"], given["scale"], tile=tile)
    logits = given["scale"] * given["image"] @ given["text"].T
    torch.testing.assert_close(row, logits.logsumexp(1))
    torch.testing.assert_close(column, logits.logsumexp(0))


def test_gradients_pass_a_numerical_check():
    given = with_grad(made_inputs(n=5))
    image, text, scale, bias = (given[name] for name in PARTS)
    groups = {"genus": given["genus"], "family": given["family"]}
    config = LevelConfig(genus=0.3, family=0.2)
    assert torch.autograd.gradcheck(lambda *x: level_loss(*x, groups, config, tile=2), (image, text, scale))
    assert torch.autograd.gradcheck(lambda *x: sigmoid_loss(*x, tile=2), (image, text, scale, bias))


def test_a_pair_far_below_its_tiles_largest_logit_still_counts_exactly():
    image = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = info_nce(image, text, torch.tensor(100.0))
    # Rows: log-sum 100 (own 100) and 0 (own 0); columns: 100 (own 100) and log 2 (own 0).
    assert loss.item() == pytest.approx(np.log(2) / 4, abs=1e-6)


def test_bf16_vectors_give_the_loss_of_their_rounded_values():
    given = made_inputs(dtype=torch.float32)
    half = [given[name].bfloat16().requires_grad_() for name in ("image", "text")]
    loss = info_nce(*half, given["scale"])
    loss.backward()
    plain = info_nce(*(value.detach().float() for value in half), given["scale"])
    assert loss.dtype == torch.float32
    assert half[0].grad.dtype == torch.bfloat16
    assert loss.item() == pytest.approx(plain.item(), abs=0.02)


def test_autocast_does_not_round_the_sums():
    given = made_inputs(dtype=torch.float32)
    plain = info_nce(given["image"], given["text"], given["scale"])
    with torch.autocast("cpu", torch.bfloat16):
        assert info_nce(given["image"], given["text"], given["scale"]).item() == pytest.approx(plain.item(), abs=1e-6)


def test_without_shares_the_level_loss_is_info_nce():
    given = made_inputs()
    groups = {"genus": given["genus"], "family": given["family"]}
    arguments = (given["image"], given["text"], given["scale"])
    assert level_loss(*arguments, groups, LevelConfig()).item() == pytest.approx(info_nce(*arguments).item(), abs=1e-12)


def test_relatives_with_shares_are_pushed_away_less():
    image = F.normalize(torch.tensor([[1.0, 0.2], [0.2, 1.0]]), dim=-1)
    text = image.clone().requires_grad_()
    groups = {name: torch.tensor([7, 7]) for name in ("genus", "family")}
    grads = []
    for config in (LevelConfig(), LevelConfig(genus=0.4)):
        loss = level_loss(image, text, torch.tensor(5.0), groups, config)
        grads.append((torch.autograd.grad(loss, text)[0] * image.flip(0)).sum())
    assert grads[1] < grads[0]


def test_shares_above_one_are_refused_with_their_values():
    with pytest.raises(ValueError, match=r"genus 0.7 and family 0.6"):
        LevelConfig(genus=0.7, family=0.6)


def test_groups_are_averaged_and_the_unknown_stand_alone():
    rows = torch.tensor([[1.0], [3.0], [10.0], [20.0]])
    assert group_means(rows, torch.tensor([5, 5, -1, -1])).tolist() == [[2.0], [2.0], [10.0], [20.0]]


def test_numbers_of_genus_and_family_tell_kingdoms_apart_and_leave_gaps_unknown():
    oenanthe = ("Plantae", "", "", "Apiales", "Apiaceae", "Oenanthe", "Oenanthe crocata")
    wheatear = ("Animalia", "Chordata", "Aves", "", "Muscicapidae", "Oenanthe", "Oenanthe oenanthe")
    other = ("Animalia", "Chordata", "Aves", "", "Muscicapidae", "Oenanthe", "Oenanthe deserti")
    numbers = group_ids([oenanthe, wheatear, other, ("Animalia", *[""] * 6)])
    genus, family = numbers["genus"], numbers["family"]
    assert genus[0] != genus[1] == genus[2]
    assert genus[3] == -1
    assert family[0] != family[1] == family[2]
    assert family[3] == -1


def test_replay_is_a_second_loss_whose_negatives_stay_apart():
    given = made_inputs()
    image, text, scale, _ = (with_grad(given)[name] for name in PARTS)
    both = contrastive.replay_loss(image[:8], text[:8], image[8:], text[8:], scale)
    apart = info_nce(image[:8], text[:8], scale) + info_nce(image[8:], text[8:], scale)
    assert both.item() == pytest.approx(apart.item(), abs=1e-12)
    assert both.item() != pytest.approx(2 * info_nce(image, text, scale).item(), abs=1e-3)


def test_the_cosine_to_a_teacher_counts_from_nought_to_two():
    rows = torch.eye(3)
    assert teacher_cosine_loss(rows, 5 * rows).item() == pytest.approx(0)
    assert teacher_cosine_loss(rows, -rows).item() == pytest.approx(2)


@pytest.mark.parametrize("sizes", [(12,), (5, 7), (3, 3, 3, 3), (1,) * 12])
def test_cached_gradients_are_the_direct_ones(sizes):
    from rank_worker import Towers

    given = made_inputs()
    pair = [given["image"], given["text"]]
    grads = []
    for cached in (False, True):
        torch.manual_seed(1)
        model = Towers().double()
        micro = list(zip(*(part.split(list(sizes)) for part in pair), strict=True))
        loss = cached_backward(model, micro, info_nce) if cached else info_nce(*model(pair))
        if not cached:
            loss.backward()
        grads.append([loss.detach(), *(p.grad for p in model.parameters())])
    for direct, by_parts in zip(*grads, strict=True):
        torch.testing.assert_close(by_parts, direct, atol=1e-10, rtol=1e-10)


def test_the_second_pass_drops_what_the_first_dropped_and_the_dice_go_on_from_there():
    from rank_worker import Towers

    torch.manual_seed(0)
    model = Towers(dropout=0.5)
    seen = []
    micro = [torch.randn(2, 4, 6), torch.randn(2, 4, 6)]

    def encode(pair):
        features = model(pair)
        seen.append(features[0].detach().clone())
        return features

    before = torch.get_rng_state()
    cached_backward(encode, micro, info_nce)
    after = torch.get_rng_state()
    torch.testing.assert_close(seen[0], seen[2])
    torch.testing.assert_close(seen[1], seen[3])
    torch.set_rng_state(before)
    for pair in micro:
        model(pair)
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("ranks", [2])
def test_cached_gradients_are_the_direct_ones_under_ddp(ranks, tmp_path):
    for found in run_ranks("cached", made_inputs(), ranks, tmp_path):
        assert found["cached"].keys() == found["direct"].keys()
        for name, value in found["direct"].items():
            torch.testing.assert_close(found["cached"][name], value, atol=1e-10, rtol=1e-10)


def plain_info_nce(image_nd, text_nd, scale):
    """The loss with its whole matrix of logits."""
    logits_nn, own_n = scale * image_nd @ text_nd.T, torch.arange(len(image_nd))
    return (F.cross_entropy(logits_nn, own_n) + F.cross_entropy(logits_nn.T, own_n)) / 2


def peak_bytes(loss, n):
    """Most bytes that torch's allocator gave out at once for a loss and its gradients."""
    torch.manual_seed(0)
    image, text = (F.normalize(torch.randn(n, 16), dim=-1).requires_grad_() for _ in range(2))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        loss(image, text, torch.tensor(9.0, requires_grad=True)).backward()
    given = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(given, key=lambda event: event.start_ns())]
    return int(np.cumsum(changes).max())


@pytest.mark.parametrize(
    ("loss", "least", "most"),
    [
        (lambda image, text, scale: info_nce(image, text, scale, tile=32), 1, 2.2),
        (lambda image, text, scale: sigmoid_loss(image, text, scale, torch.tensor(-2.0), tile=32), 1, 2.2),
        # what the measure says of memory that grows with the square
        (plain_info_nce, 3.5, 4.5),
    ],
)
def test_twice_the_batch_takes_at_most_twice_the_memory(loss, least, most):
    assert least < peak_bytes(loss, 512) / peak_bytes(loss, 256) <= most
