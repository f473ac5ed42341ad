"""`LenrlTrainer` on small runs of the embedded model: TRL's meaning, the run's folder, and what is refused."""

import json

import pytest
import torch
from datasets import Dataset
from huggingface_hub import HfApi, RepoUrl
from peft import LoraConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

import lenrl
from lenrl.api import leg
from lenrl.api.script import Choices, Script
from lenrl.api.trl_arguments import optimizer_steps
from lenrl.errors import BadInput, RunFailed
from lenrl.generation.pretrained import find
from tests.api.data import config, noise, right, rows, shorter

FREE = {"truncated_share": 1.0, "collapse": {"action": "warn"}}  # no guard ends these runs


def trainer(folder, data=None, *, fields=None, **more):
    data = rows() if data is None else data
    given = {"args": config(folder, **(fields or {})), "train_dataset": data, "guard": FREE}
    return lenrl.LenrlTrainer("tiny", **{**given, **more})


@pytest.fixture(scope="module")
def equal(tmp_path_factory):
    """One step of plain GRPO by lenrl, and stock TRL's batch of the same generation."""
    folder = tmp_path_factory.mktemp("plain")
    fields = {"max_steps": 1, "reward_weights": [1.0, 0.5, 0.25], "save_strategy": "no"}
    funcs = [right, shorter, noise]
    ours = trainer(folder, fields=fields, reward_funcs=funcs)
    seen = {}

    def watch(name):
        method = getattr(ours, name)

        def call(value):
            seen[f"{name} of"] = value
            seen[name] = method(value)
            return seen[name]

        setattr(ours, name, call)

    watch("_generate")
    watch("_generate_and_score_completions")
    assert isinstance(ours, GRPOTrainer)
    ours.train()

    stock = GRPOTrainer(
        find("tiny"), list(funcs), config(folder, **fields), rows(), processing_class=ours.processing_class
    )
    asked = {row["prompt"][0]["content"]: row for row in rows()}
    inputs = [asked[row["prompt"][0]["content"]] for row in seen["_generate_and_score_completions of"]]
    stock._generate = lambda prompts: seen["_generate"]
    batch = stock._generate_and_score_completions(inputs)
    stock.current_gradient_accumulation_steps = 1
    loss = stock._compute_loss(stock.model, batch)
    line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    return seen["_generate_and_score_completions"], batch, line, loss.item()


def test_plain_grpo_has_trls_advantages(equal):
    ours, theirs, *_ = equal
    assert torch.equal(ours["completion_ids"], theirs["completion_ids"])
    assert theirs["advantages"].abs().max() > 0.1
    assert torch.allclose(ours["advantages"], theirs["advantages"], atol=1e-5)


def test_plain_grpo_has_trls_loss(equal):
    *_, line, loss = equal
    assert line["loss"] == pytest.approx(loss, abs=1e-6)
    assert line["grad_norm"] > 0


def test_steps_are_counted_as_transformers_counts(tmp_path):
    for fields in (
        {"num_train_epochs": 1.5},
        {"gradient_accumulation_steps": 3},
        {"num_iterations": 2},
        {"max_steps": 7},
    ):
        args = config(tmp_path, **fields)
        stock = GRPOTrainer(find("tiny"), right, args, rows(18))
        *_, max_steps = stock.set_initial_training_values(args, stock.get_train_dataloader())
        assert optimizer_steps(args, 18) == max_steps, fields


FIELDS = {
    "max_steps": 2,
    "save_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "report_to": "tensorboard",
}
GIVEN = {
    "method": "grpo_lambda",
    "reward_funcs": right,
    "task": {"answer": None},
    "eval_dataset": rows(4),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two steps with a verdict by a function, an evaluation, a checkpoint each."""
    folder = tmp_path_factory.mktemp("finished")
    ours = trainer(
        folder,
        fields=FIELDS,
        method="grpo_lambda",
        reward_funcs=right,
        task={"answer": None},
        eval_dataset=rows(4),
    )
    output = ours.train()
    return folder, ours, output


def test_a_run_leaves_what_the_command_line_leaves(finished):
    folder, ours, output = finished
    assert output.global_step == 2
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert {path.name for path in folder.glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-2"}
    dev = [json.loads(line) for line in (folder / "dev.jsonl").read_text().splitlines()]
    assert len(dev) == 2  # before the first step, and at the end
    assert all(0 <= line["eval_accuracy"] <= 1 for line in dev), (
        "the function that gives the verdict gives it here too"
    )
    assert list((folder / "completions").iterdir()) and (folder / "recipe.yaml").is_file()
    assert json.loads((folder / "training.json").read_text())["steps"] == 2
    assert (
        AutoModelForCausalLM.from_pretrained(folder / "model").num_parameters() == ours.model.num_parameters()
    )


def test_a_push_uploads_what_a_model_repository_holds(finished, monkeypatch):
    _, ours, _ = finished
    sent = {}
    monkeypatch.setattr(
        HfApi, "create_repo", lambda self, repo, **_: RepoUrl(f"https://huggingface.co/me/{repo}")
    )

    def commit(self, repo, operations, **options):
        sent.update(options, repo=repo, token=self.token, files={o.path_in_repo for o in operations})
        return "commit"

    monkeypatch.setattr(HfApi, "create_commit", commit)
    ours.args.hub_model_id = "shorter"
    assert ours.push_to_hub("done", token="t", revision="main") == "commit"
    files = sent.pop("files")
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "recipe.yaml"} <= files
    assert not {name for name in files if "/" in name or name.endswith((".bin", ".pt", ".jsonl", ".log"))}
    assert sent == {
        "commit_message": "done", "revision": "main", "run_as_future": False, "repo": "me/shorter", "token": "t",
    }  # fmt: skip
    with pytest.raises(BadInput, match="tags"):
        ours.push_to_hub(tags=["mine"])
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(RunFailed, match="shorter was not pushed: no network"):
        ours.push_to_hub()


def test_a_tracker_that_the_arguments_name_gets_the_figures(finished):
    folder, *_ = finished
    [file] = folder.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file.parent))
    events.Reload()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [e.value for e in events.Scalars("train/tokens_mean")] == pytest.approx(
        [line["tokens_mean"] for line in lines]
    )
    assert len(events.Scalars("eval/accuracy")) == 2


def test_a_plugin_that_a_script_names_is_part_of_the_run(tmp_path):
    file = tmp_path / "boxed_of_this_test.py"
    text = (
        "from lenrl.verify.base import VerifierPlugin\n\n\nclass Boxed(VerifierPlugin):\n"
        "    name = 'boxed_of_this_test'\n    worth: float = 1.0\n\n"
        "    def judge(self, text, answer, gold, columns):\n        return self.worth * (answer == gold)\n"
    )
    file.write_text(text)

    def checked(verifier, **fields):
        choices = Choices("grpo_lambda", verifier, {}, {}, [file], False)
        args = config(tmp_path / "run", max_steps=1, **fields)
        return (
            Script("tiny", args, {"train_dataset": rows(8), "eval_dataset": None}, None, None, None, choices)
            .built()
            .checked_run
        )

    (tmp_path / "run").mkdir()
    run = checked("boxed_of_this_test")
    assert run.verifier.kind == "boxed_of_this_test" and list(run.identity["plugins"]) == [file.name]
    leg.begin(run, tmp_path / "run", None, 1)
    assert (tmp_path / "run" / "plugins" / file.name).read_text() == text
    with pytest.raises(BadInput, match="verifier.worth"):
        leg.begin(checked({"kind": "boxed_of_this_test", "worth": 0.5}), tmp_path / "run", None, 1)
    file.write_text(text + "# edited\n")
    with pytest.raises(BadInput, match=f"plugins.{file.name}"):
        leg.begin(checked("boxed_of_this_test"), tmp_path / "run", None, 1)


def test_several_data_sets_are_evaluated_by_name(tmp_path):
    fields = {"max_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    data = {"easy": rows(2), "hard": rows(5).select([4])}
    ours = trainer(tmp_path, fields=fields, method="grpo_lambda", verifier=right, eval_dataset=data)
    assert ours.args.metric_for_best_model == "eval_easy_aes"
    with ours.built.verifiers:
        figures = ours.evaluate()
    assert {f"eval_{name}_{figure}" for name in data for figure in ("accuracy", "tokens")} <= figures.keys()
    assert "eval_accuracy" not in figures and figures["eval_hard_accuracy"] in (0, 1)
    first = ours.built.checked_run.identity["eval_dataset"]
    assert set(first) == {"easy", "hard"} and first["easy"] != first["hard"]
    with pytest.raises(BadInput, match="eval_dataset.name='a b'"):
        trainer(tmp_path, fields=fields, method="grpo_lambda", verifier="math", eval_dataset={"a b": rows(2)})


def test_a_run_that_is_there_is_neither_overwritten_nor_mixed(finished):
    folder, *_ = finished

    def again(resume, *, fields=None, data=None, **changes):
        trainer(folder, data, fields={**FIELDS, **(fields or {})}, **{**GIVEN, **changes}).train(resume)

    def edited(completions, answer, **columns):
        return [1.0 for _ in completions]

    edited.__name__ = "right"
    with pytest.raises(BadInput, match="functions.right.code"):
        again(True, reward_funcs=edited)
    with pytest.raises(BadInput, match="resume_from_checkpoint=True"):
        again(None)
    with pytest.raises(BadInput, match="reward.alpha: 0.5"):
        again(True, method={"reward": {"name": "grpo_lambda", "alpha": 0.5}})
    with pytest.raises(BadInput, match="learning_rate"):
        again(True, fields={"learning_rate": 2e-3})
    with pytest.raises(BadInput, match="columns"):
        again(True, data=rows(16).map(lambda row: {"worth": row["worth"] + 1}))
    again(True)  # nothing is left to do, and nothing is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": rows().to_iterable_dataset()}, "IterableDataset.*take"),
        ({"data": Dataset.from_list([])}, "no rows"),
        ({"data": rows(1)}, "a rollout takes 2 prompts"),
        ({"data": rows().add_column("image", [0] * 16)}, "reads text only"),
        ({"data": rows(answer="gold")}, "has no gold answers"),
        ({"tools": [right]}, "tool calls"),
        ({"rollout_func": right}, "rollout_func"),
        ({"environment_factory": dict}, "environment_factory"),
        ({"reward_funcs": "org/model"}, "reward model"),
        ({"method": "grpo_lambda", "fields": {"scale_rewards": "none"}}, "scale_rewards='none' does nothing"),
        ({"fields": {"generation_kwargs": {"num_beams": 2}}}, "generation_kwargs"),
        ({"fields": {"push_to_hub": True}}, "args.push_to_hub=True.*uploads the run's whole folder"),
        ({"fields": {"temperature": -1.0}}, "temperature"),
        ({"method": "dot"}, "can never fire with G=4"),
        ({"task": {"anwser": "x"}}, "task.answer"),
        ({"verifier": {"kind": "exakt"}}, "exact"),
        ({"guard": {"truncated": 1}}, "truncated"),
        ({"guard": {"hang_timeout_s": 60}}, "does nothing in LenrlTrainer"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_loads(change, said, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    with pytest.raises(BadInput, match=said):
        trainer(tmp_path / "run", **{"method": "grpo_lambda", **change} if "data" in change else change)
    assert not (tmp_path / "run").exists()


def test_a_text_prompt_reaches_the_model_as_it_stands(tmp_path):
    """As in TRL: no chat template, and the answers are verified all the same."""
    data = Dataset.from_list([{"prompt": f"{n}+1=", "solution": str(n + 1)} for n in range(8)])
    ours = trainer(
        tmp_path, data, fields={"max_steps": 1}, peft_config=LoraConfig(r=2, target_modules="all-linear")
    )
    with pytest.raises(BadInput, match="no trained model yet"):
        ours.push_to_hub()
    assert ours.train_dataset[0]["prompt"] == "0+1="
    prompts = ours.built.parts.problem_set.prompts
    problem = ours.built.parts.problem_set.asked(ours.train_dataset[0])
    assert prompts.ids(problem) == ours.processing_class("0+1=")["input_ids"]
    assert ours.processing_class.chat_template and problem.answer == "1"
    assert ours.rollout.method.reward.name == "correctness"
