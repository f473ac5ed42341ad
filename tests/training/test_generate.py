"""Rollouts of a real run: sampled by lenrl's sampler, each completion by noise of its own, judged as they end."""

import pytest
import torch

from tests.training.runs import lines_of, rows_of, small_run

# A step changes nothing, so that what differs, differs by its noise; and each step samples.
STEPS = ["trainer.learning_rate=1e-20", "trainer.steps_per_generation=1"]

DRPO = ["trainer.temperature=0.8", "trainer.max_completion_length=100"]


def texts(run_dir):
    return [(row["step"], row["prompt_id"], row["completion"]) for row in rows_of(run_dir)]


def trained(run_dir, *overrides, recipe="grpo", before=lambda trainer: None):
    trainer, verifier = small_run(recipe, run_dir, *STEPS, *overrides)
    before(trainer)
    with verifier:
        trainer.train()
    return trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two steps of DRPO, which reads log-probs, with a look at what is called."""
    folder, seen = tmp_path_factory.mktemp("run"), {"passes": 0, "submitted": [], "logps": []}

    def watch(trainer):
        score, begin = trainer._get_per_token_logps_and_entropies, trainer.rollout.problem_set.verifier.begin
        rollout_logps = trainer._rollout_logps

        def counted(*args, **options):
            seen["passes"] += not torch.is_grad_enabled()
            return score(*args, **options)

        def watched():
            pending = begin()
            submit, verdicts = pending.submit, pending.verdicts
            seen["submitted"].append([])
            pending.submit = lambda claims: seen["submitted"][-1].append(len(claims)) or submit(claims)
            pending.verdicts = lambda: seen["submitted"][-1].append("verdicts") or verdicts()
            return pending

        def compared(batch):
            found, mask = rollout_logps(batch), batch["completion_mask"]
            seen["logps"].append((found * mask, trainer._logps(trainer.model, batch)[0].detach() * mask))
            return found

        trainer._get_per_token_logps_and_entropies = counted
        trainer.rollout.problem_set.verifier.begin = watched
        trainer._rollout_logps = compared

    seen["trainer"] = trained(
        folder, *DRPO, "trainer.gradient_checkpointing=true", recipe="drpo", before=watch
    )
    return folder, seen


def test_verification_of_a_completion_begins_when_it_ends(run):
    folder, seen = run
    rollouts = [calls for calls in seen["submitted"] if sum(calls[:-1]) == 16]
    assert len(rollouts) == 2
    for calls in rollouts:
        assert calls[-1] == "verdicts" and len(calls) > 4, "as they ended, before one was waited for"
    line = lines_of(folder)[-1]
    assert line["time_verify_s"] < line["time_generate_s"]


def test_the_sampler_hands_out_the_log_probs_that_a_forward_gives(run):
    _, seen = run
    assert len(seen["logps"]) == 2
    for found, forward in seen["logps"]:
        assert torch.allclose(found, forward, atol=1e-5)
        assert len(found.unique()) > 1
    assert seen["passes"] == 0, "no pass without gradient for log-probs"


def test_a_prompt_is_tokenized_once_for_the_completions_of_its_group(run, monkeypatch):
    trainer, conversations = run[1]["trainer"], []
    tokenizer = trainer.processing_class
    render = tokenizer.apply_chat_template

    def counted(conversation, **options):
        conversations.append(len(conversation))
        return render(conversation=conversation, **options)

    monkeypatch.setattr(tokenizer, "apply_chat_template", counted)
    prompts = [[{"role": "user", "content": text}] for text in ("1+1", "1+1", "2+2=?", "1+1")]
    ids, images, fields = trainer._tokenize_prompts(prompts)
    assert conversations == [3] and images is None and not fields
    assert ids == super(type(trainer), trainer)._tokenize_prompts(prompts)[0]


def test_noise_is_a_rollouts_own(run, tmp_path):
    """Neither torch's stream nor an evaluation moves it; another seed does."""
    folder, _ = run
    options = [*DRPO, "trainer.eval_steps=1"]
    trained(tmp_path / "same", *options, recipe="drpo", before=lambda trainer: torch.manual_seed(99))
    assert texts(tmp_path / "same") == texts(folder)
    assert len({text for _, _, text in texts(folder)}) > 16, "samples of a prompt differ, and rollouts"
    trained(tmp_path / "other", *options, "seed=5", recipe="drpo")
    assert texts(tmp_path / "other") != texts(folder)


def test_options_that_the_sampler_does_not_know_are_left_to_trl(tmp_path, caplog):
    called = []

    def watch(trainer):
        generate = trainer.model.generate
        trainer.model.generate = lambda *args, **options: called.append(1) or generate(*args, **options)

    trained(tmp_path / "own", "trainer.max_steps=1", "trainer.max_completion_length=12", before=watch)
    assert not called and "more slowly" not in caplog.text
    short = "trainer.max_completion_length=12"
    trained(tmp_path / "trl", "trainer.cache_implementation=static", short, before=watch)
    assert len(called) == 2
    assert caplog.text.count("it does not know cache_implementation") == 1
    assert len(rows_of(tmp_path / "trl")) == 32


def test_the_options_of_a_recipe_reach_the_sampler(tmp_path):
    """The most probable token is all that is left: each group's completions are the same."""
    for option in ("trainer.top_k=1", "trainer.min_p=1.0", "trainer.top_p=0.000001"):
        folder = tmp_path / option
        trainer = trained(folder, option, "trainer.max_steps=1", "trainer.max_completion_length=12")
        assert trainer._token_rule is not None
        groups = {}
        for _, prompt, text in texts(folder):
            groups.setdefault(prompt, set()).add(text)
        assert len(groups) == 4 and all(len(group) == 1 for group in groups.values()), option
