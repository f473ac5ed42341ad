"""Checkpoints: what is resumed is what would have been; what is damaged is not used."""

import hashlib
import json
import shutil

import pytest

from lenrl.config import compose
from lenrl.engine import checkpoint
from lenrl.errors import BadInput
from lenrl.train import run
from tests.engine.runs import SMALL

# Two rollouts an epoch, six steps: the run resumes inside its second epoch.
RUN = [
    *SMALL,
    "trainer.steps_per_generation=1",
    "task.train=8",
    "trainer.max_steps=6",
    "trainer.save_steps=3",
    "trainer.max_completion_length=100",
]


def train(run_dir, recipe="drpo", *overrides):
    run(compose(recipe, [*RUN, f"output_dir={run_dir}", *overrides]))
    return hashlib.sha256((run_dir / "model" / "model.safetensors").read_bytes()).hexdigest()


def stop_after(run_dir, step):
    """Leave the folder as a run that was killed after its checkpoint of that step."""
    shutil.rmtree(run_dir / "model")
    for folder in run_dir.glob("checkpoint-*"):
        if checkpoint.step_of(folder) > step:
            shutil.rmtree(folder)


def completions(run_dir):
    import pyarrow.parquet as pq

    files = sorted((run_dir / "completions").glob("*.parquet"))
    return [(r["step"], r["prompt"], r["completion"]) for f in files for r in pq.read_table(f).to_pylist()]


def test_a_stopped_run_ends_with_the_same_weights_and_the_same_completions(tmp_path):
    straight = train(tmp_path / "a")
    seen = completions(tmp_path / "a")
    metrics = [json.loads(x)["step"] for x in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    stop_after(tmp_path / "a", 3)
    assert train(tmp_path / "a") == straight
    assert completions(tmp_path / "a") == seen
    again = [json.loads(x)["step"] for x in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert again == metrics == [1, 2, 3, 4, 5, 6]


def test_the_same_recipe_under_two_names_gives_the_same_weights(tmp_path):
    first = train(tmp_path / "one", "grpo", "name=one")
    assert first == train(tmp_path / "two", "grpo", "name=two")
    assert first != train(tmp_path / "three", "grpo", "seed=1"), "the seed does something"


def test_no_pickle_is_left_beside_the_weights(tmp_path):
    train(tmp_path / "a")
    assert not list(tmp_path.rglob("training_args.bin"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run") / "a"
    train(run_dir)
    return run_dir


def names(folder):
    return sorted(p.name for p in folder.iterdir() if p.name != checkpoint.MANIFEST)


@pytest.mark.parametrize("damage", ["delete", "truncate", "flip"])
def test_any_damage_to_any_file_makes_the_previous_checkpoint_the_newest_good_one(
    finished, tmp_path, damage, caplog
):
    for name in [*names(finished / "checkpoint-6"), checkpoint.MANIFEST]:
        copy = tmp_path / f"{damage}-{name}"
        shutil.copytree(finished, copy)
        path = copy / "checkpoint-6" / name
        content = path.read_bytes()
        if damage == "delete":
            path.unlink()
        elif damage == "truncate":
            path.write_bytes(content[: len(content) // 2])
        elif name != checkpoint.MANIFEST:  # a flipped byte of the manifest may change nothing it says
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        else:
            continue
        assert checkpoint.newest_good(copy) == copy / "checkpoint-3", name
        assert "passing over" in caplog.text
        shutil.rmtree(copy)


def test_a_named_checkpoint_that_is_damaged_is_refused(finished, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    (copy / "checkpoint-6" / "optimizer.pt").unlink()
    with pytest.raises(BadInput, match="optimizer.pt is missing"):
        checkpoint.chosen(copy, str(copy / "checkpoint-6"))
    with pytest.raises(BadInput, match="does not exist"):
        checkpoint.chosen(copy, str(copy / "checkpoint-9"))
    assert checkpoint.chosen(copy, "never") is None


def test_saves_inside_a_rollout_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"save_steps=3.*multiple"):
        train(tmp_path, "grpo", "trainer.steps_per_generation=4", "trainer.per_device_train_batch_size=8")
