"""A run that was stopped and goes on ends as the run that was never stopped."""

import json
import shutil

import pytest
import torch

from lenrl.config import compose
from lenrl.errors import BadInput, RunFailed
from lenrl.run_process import run
from lenrl.training import checkpoint
from tests.training import matrix
from tests.training.runs import SMALL

# Two optimizer steps an epoch, and an end in the middle of the second one.
SHORT = [
    *SMALL,
    "trainer.steps_per_generation=1",
    "task.train=8",
    "trainer.max_steps=3",
    "trainer.save_steps=1",
    "trainer.save_total_limit=null",
    "trainer.learning_rate=1e-3",
    "trainer.warmup_steps=0",
]


def train(run_dir, *overrides):
    return run(compose("grpo", [*SHORT, f"output_dir={run_dir}", *overrides]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run") / "a")


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "a")


def steps(run_dir):
    return [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_a_run_killed_after_its_last_checkpoint_takes_no_further_step(finished, copy, monkeypatch):
    from lenrl.training.trainer import SlottedGRPO

    def never(*_):
        raise AssertionError("a step was taken")

    monkeypatch.setattr(SlottedGRPO, "training_step", never)
    shutil.rmtree(copy / "model")
    (copy / "training.json").unlink()
    train(copy)
    assert matrix.outcome(copy) == matrix.outcome(finished)
    assert json.loads((copy / "training.json").read_text())["steps"] == 3


def test_the_seconds_of_earlier_processes_count(copy):
    state = checkpoint.read_state(copy / "checkpoint-3")
    path = copy / "checkpoint-3"
    state["stateful"]["clock"] = {"seconds": 5000.0}
    checkpoint.write_state(path, state)
    checkpoint.write_manifest(path)
    shutil.rmtree(copy / "model")
    train(copy)
    assert 5000 < json.loads((copy / "training.json").read_text())["seconds"] < 5600


def test_a_named_older_checkpoint_sets_the_newer_ones_aside(finished, copy):
    train(copy, f"resume={copy / 'checkpoint-1'}")
    assert matrix.outcome(copy) == matrix.outcome(finished)
    aside = copy / checkpoint.SET_ASIDE
    assert sorted(p.name for p in aside.iterdir()) == ["checkpoint-2", "checkpoint-3"]
    train(copy, f"resume={copy / 'checkpoint-2'}")
    assert sorted(p.name for p in aside.iterdir()) == ["checkpoint-2", "checkpoint-3", "checkpoint-3.1"]
    assert steps(copy) == [1, 2, 3]


def test_a_run_without_checkpoints_begins_anew_and_writes_no_step_twice(finished, copy):
    for folder in copy.glob("checkpoint-*"):
        shutil.rmtree(folder)
    train(copy)
    assert steps(copy) == [1, 2, 3]
    assert matrix.outcome(copy) == matrix.outcome(finished)


def test_another_run_can_go_on_from_a_checkpoint_of_this_one(finished, tmp_path):
    train(tmp_path / "fork", f"resume={finished / 'checkpoint-2'}")
    assert matrix.outcome(tmp_path / "fork").weights == matrix.outcome(finished).weights
    assert steps(tmp_path / "fork") == [3]


def test_a_changed_recipe_is_refused_with_the_difference_and_else_takes_effect(copy):
    (copy / "model").rename(copy / "former")
    shutil.rmtree(copy / "checkpoint-3")
    changes = ["trainer.learning_rate=1e-6", "reward=length_penalty"]
    with pytest.raises(
        BadInput, match=r"- reward.name: \"correctness\"[\s\S]*\+ trainer.learning_rate: 1e-06"
    ):
        train(copy, *changes)
    train(copy, *changes, "resume_with_changes=true")
    line = json.loads((copy / "metrics.jsonl").read_text().splitlines()[2])
    assert 0 < line["learning_rate"] <= 1e-6, "the rate that the checkpoint carries has won"


def test_a_changed_batch_gives_the_rollout_in_use_up(tmp_path, caplog):
    shape = ["trainer.steps_per_generation=4", "trainer.per_device_train_batch_size=4"]
    train(tmp_path / "a", *shape)
    assert (tmp_path / "a" / "checkpoint-3" / "rollout-0.safetensors").exists()
    other = ["trainer.steps_per_generation=2", "trainer.per_device_train_batch_size=8", "trainer.max_steps=5"]
    train(tmp_path / "a", *other, "resume_with_changes=true")
    assert "rollout in use is given up" in caplog.text
    assert steps(tmp_path / "a") == [1, 2, 3, 4, 5]


def test_other_data_under_the_same_recipe_is_refused(tmp_path):
    problems = tmp_path / "problems.jsonl"
    rows = [{"prompt": f"{n}+1=?", "answer": str(n + 1)} for n in range(20)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ["task=table", f"task.path={problems}", "task.dev=0", "task.test=0", "trainer.max_steps=1"]
    train(tmp_path / "a", *task)
    problems.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    with pytest.raises(BadInput, match="the task's data has changed"):
        train(tmp_path / "a", *task)


def test_weights_of_another_model_are_refused(copy, monkeypatch):
    from lenrl.training.checkpoint import weights

    def grown(model):
        return {**model.state_dict(keep_vars=True), "model.more.weight": torch.zeros(3)}

    monkeypatch.setattr(weights, "_tensors", grown)
    with pytest.raises(BadInput, match=r"does not fit the model.*missing \(model.more.weight\)"):
        train(copy)


def test_a_checkpoint_that_lacks_tensors_ends_the_run(tmp_path, monkeypatch):
    from transformers import PreTrainedModel

    original = PreTrainedModel.save_pretrained

    def lossy(self, folder, *args, **kwargs):
        state = self.state_dict()
        state.pop("model.norm.weight")
        return original(self, folder, *args, **{**kwargs, "state_dict": state})

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", lossy)
    with pytest.raises(RunFailed, match=r"1 of \d+ tensors missing \(model.norm.weight\)"):
        train(tmp_path / "a")
    assert not list((tmp_path / "a").glob("checkpoint-*"))
    assert not (tmp_path / "a" / checkpoint.PARTIAL).exists()


def test_a_moving_reference_model_is_part_of_the_state(tmp_path):
    moving = ["trainer.beta=0.1", "trainer.sync_ref_model=true", "trainer.ref_model_sync_steps=1"]
    train(tmp_path / "a", *moving)
    matrix.cut(tmp_path / "a", 2, tmp_path / "b")
    train(tmp_path / "b", *moving)
    assert matrix.outcome(tmp_path / "b") == matrix.outcome(tmp_path / "a")


def test_no_pickle_but_what_torch_must_load(finished):
    pickles = {p.name for p in finished.rglob("*") if p.suffix in (".bin", ".pkl", ".pt", ".pth")}
    assert pickles == {"optimizer.pt", "scheduler.pt"}
