"""Which checkpoints stay, which may be continued, and where a continued run goes on."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, DataLoaderShard, skip_first_batches
from torch.utils.data import BatchSampler

from lenrl.config import compose
from lenrl.errors import BadInput
from lenrl.generation.pretrained import TINY
from lenrl.run_process import run
from lenrl.training import checkpoint
from lenrl.training.callbacks import StepCallback
from lenrl.training.checkpointing import EpochSampler
from lenrl.training.peft import name_base
from tests.training.runs import SMALL, small_run


def test_the_best_checkpoint_and_the_newest_outlive_rotation(tmp_path, monkeypatch):
    """On development problems step 2 of 5 is the best one; one checkpoint is to stay."""
    trainer, verifier = small_run(
        "grpo",
        tmp_path,
        "trainer.max_steps=5",
        "trainer.save_steps=1",
        "trainer.eval_steps=1",
        "trainer.save_total_limit=1",
    )
    tokens = {0: 100.0, 1: 90.0, 2: 40.0, 3: 80.0, 4: 70.0, 5: 60.0}
    trainer.dev = lambda model, step, gather: {
        "accuracy": 0.8,
        "tokens": tokens[step],
        "truncated_share": 0.0,
    }
    original = checkpoint.rotate
    whole = []

    def spy(folder, *args, **kwargs):
        newest = tmp_path / f"checkpoint-{trainer.state.global_step}"
        whole.append(checkpoint.faults(newest) == [])
        original(folder, *args, **kwargs)

    monkeypatch.setattr(checkpoint, "rotate", spy)
    with verifier:
        trainer.train()
    left = sorted(p.name for p in tmp_path.glob("checkpoint-*"))
    assert left == ["checkpoint-2", "checkpoint-5"]
    assert all(checkpoint.faults(tmp_path / name) == [] for name in left)
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    assert whole == [True] * 5, "older checkpoints go before the new one is whole"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped after its second step of four, with its figures of then."""
    run_dir = tmp_path_factory.mktemp("run")
    recipe = options(run_dir)
    run(compose("grpo", recipe))
    whole = [json.loads(line) for line in (run_dir / "dev.jsonl").read_text().splitlines()]
    for late in ("checkpoint-4", "model"):
        import shutil

        shutil.rmtree(run_dir / late)
    return run_dir, whole


def options(run_dir) -> list[str]:
    steps = ["trainer.max_steps=4", "trainer.save_steps=2", "trainer.eval_steps=2"]
    return [*SMALL, *steps, "trainer.max_completion_length=100", f"output_dir={run_dir}"]


def test_resume_never_refuses_a_folder_with_checkpoints(stopped):
    run_dir, _ = stopped
    with pytest.raises(BadInput, match=r"resume=never.*checkpoint-2.*resume=auto"):
        run(compose("grpo", [*options(run_dir), "resume=never"]))


def test_another_number_of_processes_is_refused(stopped, monkeypatch):
    run_dir, _ = stopped
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match=r"written by 1 processes, this launch has 2.*num_processes=1"):
        run(compose("grpo", options(run_dir)))


def test_a_continued_run_evaluates_no_step_twice(stopped):
    run_dir, whole = stopped
    assert [line["step"] for line in whole] == [0, 2, 4]
    run(compose("grpo", options(run_dir)))
    assert [json.loads(line) for line in (run_dir / "dev.jsonl").read_text().splitlines()] == whole


def test_the_order_of_a_later_epoch_is_found_again_on_several_processes():
    """accelerate's `set_epoch` stops short of the sampler behind the batches that a resume skips."""

    def loader(rank: int) -> tuple[EpochSampler, DataLoaderShard]:
        order = EpochSampler(data_source=range(12), mini_repeat_count=1, batch_size=4, seed=5)
        batches = BatchSamplerShard(BatchSampler(order, 2, False), num_processes=2, process_index=rank)
        return order, DataLoaderShard(torch.arange(12), batch_sampler=batches)

    for rank in (0, 1):
        _, straight = loader(rank)
        straight.set_epoch(1)
        expected = [batch.tolist() for batch in straight]
        order, fresh = loader(rank)
        skipping = skip_first_batches(fresh, 1)
        state = SimpleNamespace(epoch=1 + 1 / 3)
        StepCallback(order.set_epoch, *[lambda *_: None] * 3).on_epoch_begin(None, state, None)
        skipping.set_epoch(1)
        assert [batch.tolist() for batch in skipping] == expected[1:]


def test_a_lora_run_saves_an_adapter_that_eval_loads(tmp_path, monkeypatch):
    run_dir = tmp_path / "lora"
    shutil.copytree(TINY, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    peft = "model.peft={r: 4, lora_alpha: 64, target_modules: all-linear}"
    base = "model.path=base"  # as a user types it; the adapter must lead there from anywhere
    run(compose("grpo", [*SMALL, base, peft, "trainer.max_completion_length=100", f"output_dir={run_dir}"]))
    assert (run_dir / "model" / "adapter_config.json").is_file()
    assert not (run_dir / "model" / "model.safetensors").exists(), "only the adapter is saved"
    for folder in (run_dir / "model", *run_dir.glob("checkpoint-*")):
        written = json.loads((folder / "adapter_config.json").read_text())
        assert written["base_model_name_or_path"] == str(tmp_path / "base")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    from safetensors.torch import load_file

    saved = load_file(run_dir / "model" / "adapter_model.safetensors")
    moved = [name for name, value in saved.items() if "lora_B" in name and value.abs().sum() > 0]
    assert moved, "no adapter has moved from 0"

    from lenrl.cli import main

    out = tmp_path / "eval"
    assert main(["eval", "tiny", str(run_dir), "task.test=8", "max_new_tokens=60", "--out", str(out)]) == 0
    base, trained = json.loads((out / "eval.json").read_text())["models"]
    assert base["prompts"] == trained["prompts"] == 8

    from lenrl.generation import transformers_engine as models

    adapted = models.load(str(run_dir)).model.state_dict()
    assert all((adapted[f"{name}"] == value).all() for name, value in renamed(saved, adapted).items())


@pytest.mark.parametrize(("name", "revision"), [("org/model", "v2"), ("org/model", None)])
def test_an_adapters_base_on_the_hub_keeps_its_id_and_gets_the_revision(name, revision):
    config = SimpleNamespace(base_model_name_or_path=name, revision=None)
    name_base(SimpleNamespace(get_base_model=None, peft_config={"default": config}), revision)
    assert (config.base_model_name_or_path, config.revision) == (name, revision)


def renamed(saved, adapted):
    """The adapter's tensors by the names of the loaded model."""
    by_end = {name.replace(".default.", ".").removeprefix("base_model.model."): name for name in adapted}
    found = {
        by_end[name.removeprefix("base_model.model.")]: value
        for name, value in saved.items()
        if name.removeprefix("base_model.model.") in by_end
    }
    assert len(found) == len(saved)
    return found
