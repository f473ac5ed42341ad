"""A term beside TRL's loss, in a real step."""

import torch
from transformers import TrainerCallback

from tests.training.runs import small_run

STEP = [
    "task.train=8",
    "trainer.max_steps=1",
    "trainer.max_grad_norm=0",
    "trainer.per_device_train_batch_size=4",
    "trainer.gradient_accumulation_steps=2",
    "reward=none",
    "trainer.max_completion_length=120",
    "verifier.kind=exact",
    "objective.margin=9",  # of logits: the model's own lead is 3
]


def term(trainer) -> dict[str, torch.Tensor]:
    """The gradient of the margin over all rows, each prompt by itself, by parameter."""
    rule, prompts = trainer.rollout.method.objective, trainer.rollout.problem_set.prompts
    trainer.model.zero_grad()
    problems = {
        tuple(prompts.ids(problem)): problem for problem in trainer.rollout.problem_set.problems.values()
    }
    hinges = []
    for batch in trainer._buffered_inputs:
        for i, sign in enumerate(batch["row_value_short_is_good"].tolist()):
            ids = tuple(batch["bare_prompt_ids"][i][batch["bare_prompt_mask"][i].bool()].tolist())
            assert ids in problems, "no prompt of the data, without words"
            logits = trainer.model(input_ids=torch.tensor([ids])).logits[0, -1]
            hinges.append(
                (rule.margin - sign * (logits[rule.short_token] - logits[rule.long_token])).clamp(min=0)
            )
            assert abs(sign) == 1
    (rule.coef * torch.stack(hinges).mean()).backward()
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters()}


def test_the_gradient_is_the_margin_s_of_the_bare_prompts_where_no_row_has_an_advantage(tmp_path):
    trainer, verifier = small_run("mode_margin", tmp_path, *STEP)
    found, expected = {}, {}

    class Capture(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **_):
            found.update({name: p.grad.clone() for name, p in trainer.model.named_parameters()})
            expected.update(term(trainer))

    trainer.add_callback(Capture())
    with verifier:
        trainer.train()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-2, "the test shows nothing"
