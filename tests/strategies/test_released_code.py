"""Strategies beside the authors' released code.

The files of `tests/golden/released/` hold inputs and what the code gave on them, run once; each names repository,
commit and file.
"""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lenrl.rollouts import RewardResult, Rollouts
from lenrl.strategies.advantages.batch_whitened import BatchWhitened
from lenrl.strategies.advantages.drpo import Drpo
from lenrl.strategies.advantages.rloo import Rloo
from lenrl.strategies.base import MicroBatch, StepTotals
from lenrl.strategies.examples import groups
from lenrl.strategies.objectives.drpo import DrpoObjective
from lenrl.strategies.objectives.kl_cov import KlCov
from lenrl.strategies.rewards.dler import Dler
from lenrl.strategies.rewards.efficient import Efficient
from lenrl.strategies.rewards.laser import Laser
from lenrl.strategies.sampling.drop_flat import DropFlat
from lenrl.strategies.truncation.dot import Dot

RELEASED = Path(__file__).parents[1] / "golden" / "released"


def cases(name: str) -> list[dict]:
    return json.loads((RELEASED / f"{name}.json").read_text())["cases"]


def real(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch_of(case: dict) -> Rollouts:
    return groups(case["length"], case["correct"], truncated_PG=case["truncated"])


def inside(case: dict) -> Tensor:
    """bool (N, T): the completion tokens."""
    return torch.arange(len(case["logp"][0])) < torch.tensor(case["length"])[:, None]


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.json")), ids=lambda path: path.stem)
def test_a_file_names_where_its_values_are_from(path: Path) -> None:
    found = json.loads(path.read_text())
    assert (
        found["cases"]
        and "/" in found["repository"]
        and len(found["commit"]) == 40
        and ".py" in found["file"]
    )


@pytest.mark.parametrize("case", cases("drpo"), ids=lambda case: f"tau{case['tau']}_kl{case['kl']:.2g}")
def test_drpo_gradient(case: dict) -> None:
    """One rollout's first update to 1e-6; later ones differ, since the code weighs the wrong rows anew at each."""
    size, mask = case["num_generations"], inside(case)
    old, logp = real(case["old_logp"]), real(case["logp"]).requires_grad_()
    mean_logp = (old * mask).sum(dim=1) / mask.sum(dim=1)
    batch = groups(
        torch.tensor(case["length"]).reshape(-1, size).tolist(),
        torch.tensor(case["correct"]).reshape(-1, size).tolist(),
        max_length=case["max_length"],
        mean_logp_PG=mean_logp.reshape(-1, size),
    )
    advantage = Drpo(lam=case["lam"], tau=case["tau"])(RewardResult(batch.correct_PG), batch)
    drift = ((old - logp.detach()) * mask).sum().item()
    totals = StepTotals(rows=len(mask), tokens=int(mask.sum()), kl_tokens=drift, processes=1)
    loss, _ = DrpoObjective()(MicroBatch(logp, old, mask, advantage.flatten()), totals)
    (gradient,) = torch.autograd.grad(loss, logp)
    expected = real(case["gradient"])
    near = 1e-6 if case["kl"] == 0 else 5e-3
    assert (gradient - expected).norm() <= near * expected.norm()


@pytest.mark.parametrize("case", cases("kl_cov"), ids=lambda case: f"{len(case['length'])}_rows")
def test_kl_cov_gradient(case: dict) -> None:
    mask, logp = inside(case), real(case["logp"]).requires_grad_()
    batch = MicroBatch(logp, real(case["old_logp"]), mask, real(case["advantage"]))
    totals = StepTotals(rows=len(mask), tokens=int(mask.sum()), kl_tokens=0, processes=1)
    loss, _ = KlCov(ratio=case["ratio"], coef=case["coef"])(batch, totals)
    (gradient,) = torch.autograd.grad(loss, logp)
    assert loss.item() == pytest.approx(case["loss"], abs=1e-7)
    assert torch.allclose(gradient, real(case["gradient"]), atol=1e-8)


@pytest.mark.parametrize("case", cases("dot"), ids=lambda case: f"alpha{case['alpha']}")
def test_dot_cut(case: dict) -> None:
    margin = {"margin": case["margin"]} if case["margin"] >= 1 else {"margin_fraction": case["margin"]}
    rule = Dot(alpha=case["alpha"], success_threshold=case["success_threshold"], **margin)
    assert case["cut"] and rule(groups(case["length"], case["correct"])).tolist() == case["kept"]


@pytest.mark.parametrize("case", cases("laser"))
def test_laser_reward(case: dict) -> None:
    batch = groups([case["length"]], [case["correct"]], formatted_PG=[case["formatted"]])
    assert Laser(target=case["target"])(batch)[0].tolist() == case["reward"]


@pytest.mark.parametrize("check_eos", [True, False])
@pytest.mark.parametrize(
    "case", cases("efficient"), ids=lambda case: f"alpha{case['alpha']}_{len(case['length'])}"
)
def test_efficient(case: dict, check_eos: bool) -> None:
    batch, expected = batch_of(case), case["check_eos" if check_eos else "judged"]
    reward = RewardResult(Efficient(alpha=case["alpha"], check_eos=check_eos)(batch))
    assert torch.allclose(reward.total_PG, real(expected["reward"]), atol=1e-9)
    assert torch.allclose(Rloo()(reward, batch), real(expected["rloo"]), atol=1e-9)
    assert torch.allclose(Rloo(whiten=True)(reward, batch), real(expected["whitened"]), atol=1e-6)


@pytest.mark.parametrize("case", cases("dler"), ids=lambda case: f"{len(case['length'])}_groups")
def test_dler(case: dict) -> None:
    batch = batch_of(case)
    reward = RewardResult(Dler(unfinished=case["unfinished"])(batch))
    assert torch.allclose(reward.total_PG, real(case["reward"]), atol=1e-7)  # the code's are float32
    assert DropFlat(by="verdict").signal(batch, reward).nonzero().flatten().tolist() == case["kept"]
    assert torch.allclose(BatchWhitened(over="tokens")(reward, batch), real(case["advantage"]), atol=1e-6)
