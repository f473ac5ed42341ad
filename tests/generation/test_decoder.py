"""lenrl's decoding against transformers' `generate`: the same greedy tokens, the same distribution, less computing."""

import random
from itertools import pairwise

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import chisquare, ks_2samp
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, MambaConfig

from lenrl.generation.base import Batches
from lenrl.generation.choice import TokenRule
from lenrl.generation.decoder import PromptRow
from lenrl.generation.key_values import cache_name, divisible_cache
from lenrl.generation.noise import rollout_keys
from lenrl.generation.pretrained import TINY
from lenrl.generation.sampling import sample_rows, sampler_rule

ENDS = [1, 7, 13]
GREEDY = TokenRule(greedy=True)


def random_model(kind="qwen3", **options):
    """Two layers of random weights, some of whose rows end early."""
    torch.manual_seed(0)
    sizes = dict(
        vocab_size=40, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    config = AutoConfig.for_model(kind, **sizes, num_key_value_heads=2, pad_token_id=0, **options)
    return AutoModelForCausalLM.from_config(config).float().eval()


@pytest.fixture(scope="module")
def tiny():
    return AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32).eval()


def groups(prompts=8, size=2, cap=24):
    """Rows of groups; the pad id stands inside prompts."""
    rng = random.Random(1)
    ids = [[rng.choice([0, *range(2, 40)]) for _ in range(rng.randint(1, 12))] for _ in range(prompts)]
    return [PromptRow(p, cap, key) for key, p in enumerate(p for p in ids for _ in range(size))]


def plain(model, row, **options):
    """What `generate` gives for a row by itself."""
    config = GenerationConfig(
        max_new_tokens=row.cap, do_sample=False, eos_token_id=ENDS, pad_token_id=0, **options
    )
    with torch.no_grad():
        ids = torch.tensor([list(row.prompt)])
        # the mask keeps `generate` from taking a pad id inside the prompt for padding
        output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return output[0, len(row.prompt) :].tolist()


def every(rows, **options):
    return Batches(size=len(rows), **options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("qwen3", {"head_dim": 16}), ("llama", {}), ("qwen2", {}), ("mistral", {"sliding_window": 8})],
)
def test_greedy_tokens_are_those_of_generate(kind, options):
    model, rows = random_model(kind, **options), groups()
    found = sample_rows(model, rows, GREEDY, ENDS, every(rows))
    assert [completion.ids for completion in found] == [plain(model, row) for row in rows]
    assert len({len(completion.ids) for completion in found}) > 1, "they end at different places"


@pytest.mark.parametrize("rule", [TokenRule(True, repetition_penalty=1.5), TokenRule(True, min_p=0.3)])
def test_options_of_generate_that_a_greedy_choice_reads(rule):
    model, rows = random_model(), groups()
    found = sample_rows(model, rows, rule, ENDS, every(rows))
    given = {"repetition_penalty": rule.repetition_penalty}
    assert [completion.ids for completion in found] == [plain(model, row, **given) for row in rows]
    same = sample_rows(model, rows, GREEDY, ENDS, every(rows))
    assert (found == same) == (rule.repetition_penalty == 1)


def test_adapters_and_training_mode():
    base, rows = random_model("llama"), groups(3)
    model = get_peft_model(base, LoraConfig(target_modules=["q_proj", "v_proj"], lora_dropout=0.5))
    torch.manual_seed(1)
    for name, values in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(values, std=0.5)
    base_tokens = [plain(random_model("llama"), row) for row in rows]
    expected = [plain(model.eval(), row) for row in rows]
    model.train()
    found = sample_rows(model, rows, GREEDY, ENDS, every(rows))
    assert [completion.ids for completion in found] == expected != base_tokens
    assert model.training and not torch.is_inference_mode_enabled()


def test_bfloat16_follows_the_model():
    model, rows = random_model().bfloat16(), groups()
    found = sample_rows(model, rows, GREEDY, ENDS, every(rows), logps=True)
    for row, completion in zip(rows, found, strict=True):
        with torch.no_grad():
            logits_TV = model(torch.tensor([[*row.prompt, *completion.ids]])).logits[0].float()
        given_TV = logits_TV[len(row.prompt) - 1 : -1]
        chosen_T = given_TV.gather(-1, torch.tensor(completion.ids)[:, None]).squeeze(1)
        assert (given_TV.amax(-1) - chosen_T).max() < 0.05, "no token but one that rounding may prefer"


@pytest.mark.parametrize("rule", [TokenRule(), TokenRule(temperature=0.7, top_p=0.8), GREEDY])
def test_log_probs_are_the_forwards_at_the_temperature_whatever_is_cut_off(rule):
    model, rows = random_model(), groups()
    found = sample_rows(model, rows, rule, ENDS, every(rows), logps=True)
    for row, completion in zip(rows, found, strict=True):
        ids = torch.tensor([[*row.prompt, *completion.ids]])
        with torch.no_grad():
            logp_TV = (model(ids).logits[0, len(row.prompt) - 1 : -1] / rule.temperature).log_softmax(-1)
        expected_T = logp_TV.gather(-1, ids[0, len(row.prompt) :, None]).squeeze(1)
        assert torch.allclose(torch.tensor(completion.logps), expected_T, atol=1e-5)
    without = sample_rows(model, rows, rule, ENDS, every(rows))
    assert [c.ids for c in without] == [c.ids for c in found] and without[0].logps is None


def test_rows_leave_as_they_end_and_are_one_as_long_as_they_agree():
    """The batch has a place for each prefix that some row has, and for at most one in eight that none has any more."""
    model, rows, shapes, heard = random_model(initializer_range=0.05), groups(4, 6), [], []
    forward = model.forward
    model.forward = lambda **given: shapes.append(given["input_ids"].shape) or forward(**given)
    batches = every(rows, ended=lambda some: heard.append((len(shapes), sorted(some))))
    found = sample_rows(model, rows, TokenRule(temperature=0.5), ENDS, batches)
    assert shapes[0] == (4, max(len(row.prompt) for row in rows))
    for place, (count, width) in enumerate(shapes[1:], start=1):
        alive = [number for number, completion in enumerate(found) if len(completion.ids) > place]
        prefixes = len({(number // 6, *found[number].ids[:place]) for number in alive})
        assert width == 1 and prefixes <= count <= prefixes * 8 / 7
    assert 4 < shapes[1][0] < 24 > max(count for count, _ in shapes), "some agree, and some do not"
    assert sorted(row for _, some in heard for row in some) == list(range(24)), "each row is heard of once"
    assert {row: at for at, some in heard for row in some} == {
        row: len(completion.ids) for row, completion in enumerate(found)
    }, "when it ends"


def test_greedy_rows_of_a_prompt_are_one():
    model, rows, counts = random_model(), groups(4, 6), []
    forward = model.forward
    model.forward = lambda **given: counts.append(len(given["input_ids"])) or forward(**given)
    found = sample_rows(model, rows, GREEDY, ENDS, every(rows), logps=True)
    assert max(counts) == 4 and all(found[number] == found[number // 6 * 6] for number in range(24))


def test_a_model_is_trained_on_after_it_was_sampled():
    """Sampling takes place in torch's inference mode, and leaves none of its tensors behind, which bear no update."""
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = random_model("llama", max_position_embeddings=16, rope_parameters=rope)
    frequencies = model.model.rotary_emb.inv_freq
    batch = torch.tensor([[5, 9, 11] * 4])
    before = model(batch, labels=batch).loss
    sample_rows(model, groups(2, 2, cap=30), TokenRule(), [], Batches())
    assert model.model.rotary_emb.inv_freq is not frequencies, "made anew past 16 tokens"
    assert not any(buffer.is_inference() for buffer in model.buffers())
    model.train()
    after = model(batch, labels=batch).loss
    after.backward()
    assert torch.allclose(before, after, rtol=1e-2)


def test_each_row_has_a_cap_of_its_own():
    model, rows = random_model(), groups()
    free = sample_rows(model, rows, TokenRule(), ENDS, every(rows))
    capped = [PromptRow(row.prompt, 1 + number % 9, row.key) for number, row in enumerate(rows)]
    found = sample_rows(model, capped, TokenRule(), ENDS, every(rows))
    for row, whole, part in zip(capped, free, found, strict=True):
        assert part.ids == whole.ids[: row.cap]
        assert part.truncated == (part.ids[-1] not in ENDS)


def test_a_completion_is_the_same_whoever_shares_its_batch():
    model, rows = random_model(), groups()
    together = sample_rows(model, rows, TokenRule(), ENDS, every(rows))
    assert together == sample_rows(model, rows, TokenRule(), ENDS, Batches(5))
    assert together[::-1] == sample_rows(model, rows[::-1], TokenRule(), ENDS, every(rows))


def test_noise_of_rollouts():
    keys = rollout_keys(["a", "b", "a", "b"], seed=1, rollout=2)
    assert len(set(keys)) == 4
    assert keys == [rollout_keys(order, 1, 2)[i] for order, i in (("a", 0), ("b", 0), ("aa", 1), ("bb", 1))]
    others = rollout_keys("ab", 1, 3) + rollout_keys("ab", 2, 2)
    assert not set(others) & set(keys)


def test_the_next_token_has_the_models_distribution(tiny):
    """At the least certain place of a completion, by a chi-square test on a fixed sample."""
    prompt = [3, 4, 5, 6, 7, 8]
    row = PromptRow(prompt, 60, 5)
    [completion] = sample_rows(tiny, [row], TokenRule(), [1], Batches())
    ids = [*prompt, *completion.ids]
    with torch.no_grad():
        probability_TV = tiny(torch.tensor([ids])).logits[0].double().softmax(-1)
    entropy_T = -(probability_TV * probability_TV.clamp(min=1e-30).log()).sum(-1)
    place = int(entropy_T[len(prompt) :].argmax()) + len(prompt)
    rows = [PromptRow(ids[: place + 1], 1, key) for key in range(6000)]
    for rule in (TokenRule(), TokenRule(temperature=2.0)):
        found = sample_rows(tiny, rows, rule, [1], every(rows))
        counts_V = torch.bincount(torch.tensor([c.ids[0] for c in found]), minlength=probability_TV.shape[1])
        exact_V = (probability_TV[place].log() / rule.temperature).softmax(-1) * len(rows)
        likely = exact_V >= 5
        observed = [*counts_V[likely].tolist(), int(counts_V[~likely].sum())]
        expected = [*exact_V[likely].tolist(), float(exact_V[~likely].sum())]
        assert len(observed) > 2
        assert chisquare(observed, expected).pvalue > 0.01


def test_lengths_have_the_distribution_of_generate():
    model = random_model()
    rows = [PromptRow([5, 9], 40, key) for key in range(400)]
    ours = [len(c.ids) for c in sample_rows(model, rows, TokenRule(), ENDS, every(rows))]
    torch.manual_seed(0)
    config = GenerationConfig(
        max_new_tokens=40, do_sample=True, top_k=0, eos_token_id=ENDS, pad_token_id=0, temperature=1.0
    )
    output_NT = model.generate(torch.tensor([[5, 9]] * len(rows)), generation_config=config)[:, 2:]
    stopped_NT = torch.isin(output_NT, torch.tensor(ENDS))
    theirs = torch.where(stopped_NT.any(1), stopped_NT.int().argmax(1) + 1, 40).tolist()
    assert ks_2samp(ours, theirs).pvalue > 0.01
    assert max(ours) > 3 * min(ours)


def test_a_cache_with_room_is_not_copied_at_each_token():
    model = random_model()
    cache = divisible_cache(model)
    places = []
    with torch.no_grad():
        for place in range(100):
            model(torch.tensor([[place % 40]]), **{cache_name(model): cache}, use_cache=True)
            places.append(cache.layers[0].keys.data_ptr())
    assert sum(one != other for one, other in pairwise(places)) <= 3
    assert cache.get_seq_length() == 100


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"do_sample": True, "top_p": 0.9, "top_k": 0, "min_p": 0.1, "repetition_penalty": 1.1}, None),
        ({"do_sample": False, "pad_token_id": 0, "eos_token_id": [1], "max_new_tokens": 5}, None),
        ({"no_repeat_ngram_size": 3, "do_sample": True}, "it does not know no_repeat_ngram_size"),
        ({"cache_implementation": "static"}, "it does not know cache_implementation"),
    ],
)
def test_configurations_that_are_understood(options, reason):
    rule = sampler_rule(random_model(), GenerationConfig(**options))
    if reason:
        assert rule == reason
    else:
        assert rule == TokenRule(
            not options["do_sample"],
            **{name: options[name] for name in ("top_p", "min_p", "repetition_penalty") if name in options},
        )


def test_a_model_with_another_kind_of_state_is_left_to_generate(caplog):
    sizes = dict(vocab_size=40, hidden_size=32, num_hidden_layers=1, state_size=4)
    model = AutoModelForCausalLM.from_config(MambaConfig(**sizes)).eval()
    rows = groups(2, 2, cap=5)
    assert "takes no" in sampler_rule(model, GenerationConfig())
    found = sample_rows(model, rows, TokenRule(), ENDS, every(rows))
    assert found == sample_rows(model, rows, TokenRule(), ENDS, every(rows))
    assert all(1 <= len(completion.ids) <= 5 for completion in found)
    assert caplog.text.count("MambaForCausalLM.forward takes no") == 1, "said once"


def test_a_cache_is_handed_over_by_the_name_that_forward_has_for_it():
    class Newer(torch.nn.Module):
        def forward(self, input_ids, cache=None):
            raise NotImplementedError

    class Former(torch.nn.Module):
        def forward(self, input_ids, past_key_values=None):
            raise NotImplementedError

    assert (cache_name(Newer()), cache_name(Former())) == ("cache", "past_key_values")
