"""A model whose attention heads are edited by what it thought in an evaluation (ThinkEdit, arXiv 2503.22048).

Names end in their axes: L layers, D their stream, H heads, W the outputs of a layer's heads as `o_proj` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow.parquet as pq
import torch
from pydantic import Field, StrictFloat, StrictInt, model_validator
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from lenrl import files
from lenrl.errors import BadInput
from lenrl.evaluation.cache import source_of
from lenrl.generation.base import CausalLM, Count, Engine
from lenrl.generation.controls import Thinking
from lenrl.generation.controls.steer import DIRECTIONS, attention_layers
from lenrl.generation.pretrained import ModelOptions, load_config
from lenrl.generation.transformers_engine import load
from lenrl.terminal import Terminal

Trace = tuple[int, list[int]]  # tokens of a thinking; ids of its prompt, and of its completion up to its end
FEWEST = 10  # pairs of thinkings
STEADY = 0.5  # cosine of the directions of two halves of the pairs, below which a direction is noise


class EditSettings(ModelOptions):
    """Settings of `lenrl edit`."""

    # Their number, 11, or their share of all, 0.04.
    heads: Annotated[StrictInt, Field(ge=1)] | Annotated[StrictFloat, Field(gt=0, le=1)] = 0.04
    gamma: Annotated[StrictFloat, Field(gt=0)] = 1.0  # share of what a head writes along the direction
    toward: Literal["longer", "shorter"] = "longer"  # without the heads that shorten, or those that lengthen
    # Of each prompt the longest third of its thinkings with the shortest, or all beyond `long` and `short`.
    compare: Literal["prompt", "all"] = "prompt"
    short: Count = 100  # tokens; of compare=all
    long: Count = 1000  # tokens; of compare=all
    examples: Annotated[StrictInt, Field(ge=FEWEST)] = 500  # pairs, at most

    @model_validator(mode="after")
    def _bounds_are_read(self) -> EditSettings:
        if self.compare == "prompt" and self.model_fields_set & {"short", "long"}:
            raise ValueError("short and long do nothing without compare=all; give it, or leave them out")
        return self


def edit(name: str, evaluation: Path, out: Path, settings: EditSettings) -> dict[str, Any]:
    """Write the edited model into a new folder; returns what its `edit.json` holds.

    Raises:
        BadInput: the model can't be edited, is not the one that was measured, or its thinkings tell no direction.
    """
    if out.exists():
        raise BadInput(f"{out} exists; name another folder: --out NEW")
    engine = load(name, settings)
    H = engine.model.config.num_attention_heads
    total = len(attention_layers(engine.model)) * H
    count = settings.heads if isinstance(settings.heads, int) else max(1, round(settings.heads * total))
    if count > total:
        raise BadInput(f"heads={count}: {name!r} has {total}; a share of them has a point: heads=0.04")
    pairs = _pairs(_traces(engine, evaluation), settings)
    v_LD, cosine_L, contribution_LH = directions(engine.model, pairs)
    order = contribution_LH.flatten().argsort(descending=settings.toward == "longer")[:count]
    heads = [divmod(place, H) for place in order.tolist()]
    cosine, layer = min((float(cosine_L[layer]), layer) for layer, _ in heads)
    if not cosine >= STEADY:
        raise BadInput(
            f"layer {layer}: the directions of two halves of {len(pairs)} pairs of thinkings have cosine {cosine:.2f}, "
            f"below {STEADY}: noise. Measure more problems or samples, or edit fewer heads"
        )
    report = settings.model_dump(exclude=set(ModelOptions.model_fields)) | {
        "model": name,
        "weights": engine.weights(),
        "pairs": len(pairs),
        "tokens": [sum(pair[side][0] for pair in pairs) / len(pairs) for side in (0, 1)],
        "edited": heads,
        "contributions": contribution_LH.tolist(),
        "norms": v_LD.norm(dim=-1).tolist(),
        "cosines": cosine_L.tolist(),
    }
    edit_heads(engine.model, v_LD, heads, settings.gamma)
    engine.model.to(load_config(name, settings).dtype or engine.model.dtype).save_pretrained(out)
    engine.info.tokenizer.save_pretrained(out)
    (out / DIRECTIONS).parent.mkdir()
    save_file({"v_LD": v_LD}, out / DIRECTIONS, {"weights": report["weights"]})
    files.write_json(out / "edit.json", report)
    return report


def _traces(engine: Engine, folder: Path) -> list[list[Trace]]:
    """Finished thinkings of each prompt, sampled without a control from these weights."""
    sources = {path: source_of(path) for path in sorted(folder.glob("completions-*-sampled.parquet"))}
    path = next((path for path in sources if sources[path].get("weights") == engine.weights()), None)
    if path is None:
        there = ", ".join(str(source.get("weights")) for source in sources.values()) or "none"
        raise BadInput(
            f"{folder} has no samples of these weights, {engine.weights()} (there: {there}): measure the model with "
            f"the dtype and on the device of the edit: lenrl eval {engine.name} samples=8 --out NEW"
        )
    rows = pq.read_table(path, columns=["prompt_id", "rendered", "ids"]).to_pylist()
    thinking = Thinking(engine.info, "<think>", "</think>", "boxed")
    prompts = {row["prompt_id"]: thinking.ids(row["rendered"]) for row in rows}
    if files.digest(list(prompts.values()), size=6) != sources[path]["fingerprint"]["prompt_tokens"]:
        raise BadInput(f"{path}: its prompts are other tokens for this tokenizer; give the evaluation's")
    traces = {prompt: list[Trace]() for prompt in prompts}
    for row in rows:
        span = thinking.span(row["ids"])
        if span and span.closed:  # and not empty
            ids = [*prompts[row["prompt_id"]], *row["ids"][: span.end]]
            traces[row["prompt_id"]].append((len(span), ids))
    return list(traces.values())


def _pairs(prompts: Sequence[Sequence[Trace]], settings: EditSettings) -> list[tuple[Trace, Trace]]:
    """A long and a short thinking each, those of a prompt side by side."""
    every = [trace for own in prompts for trace in own]
    if settings.compare == "all":
        long = [trace for trace in every if trace[0] > settings.long]
        pairs = list(zip(long, (trace for trace in every if trace[0] < settings.short), strict=False))
    else:  # the longest with the shortest, the second longest with the second shortest, ...
        thirds = [zip(sorted(own)[::-1], sorted(own)[: len(own) // 3], strict=False) for own in prompts]
        pairs = [pair for third in thirds for pair in third if pair[0][0] > pair[1][0]]
    if len(pairs) < FEWEST:
        lengths = [tokens for tokens, _ in every] or [0]
        raise BadInput(
            f"{len(every)} finished thinkings, from <think> to </think>, of {min(lengths)} to {max(lengths)} tokens "
            f"have {len(pairs)} pairs for compare={settings.compare}, an edit needs {FEWEST}: measure more, samples=8"
        )
    return pairs[: settings.examples]


@torch.no_grad()
def directions(model: CausalLM, pairs: Sequence[tuple[Trace, Trace]]) -> tuple[Tensor, Tensor, Tensor]:
    """Long against short thinkings in each layer's stream, after attention and before the MLP.

    Returns:
        v_LD, the mean difference; cosine_L of those of two halves of the pairs; contribution_LH, along -v / |v| in
        the short thinkings: how much each head shortens.
    """
    differences, written = [], []
    for long, short in track(pairs, "thinkings", console=Terminal(stderr=True), transient=True):
        (long_LD, _), (short_LD, short_LW) = _means(model, *long), _means(model, *short)
        differences.append(long_LD - short_LD)
        written.append(short_LW)
    one_LD, other_LD = (half_NLD.mean(0) for half_NLD in torch.stack(differences).tensor_split(2))
    v_LD = torch.stack(differences).mean(0)
    rows = zip(attention_layers(model), normalize(v_LD, dim=-1), torch.stack(written).mean(0), strict=True)
    along_LW = [u_D @ layer.self_attn.o_proj.weight.float().cpu() * heads_W for layer, u_D, heads_W in rows]
    contribution_LH = -torch.stack(along_LW).unflatten(1, (model.config.num_attention_heads, -1)).sum(-1)
    return v_LD, cosine_similarity(one_LD, other_LD, dim=-1), contribution_LH


@torch.no_grad()
def edit_heads(model: CausalLM, v_LD: Tensor, heads: Iterable[tuple[int, int]], gamma: float) -> None:
    """Take `gamma` of what (layer, head) writes along its layer's direction out of the weights, in float32."""
    layers = attention_layers(model)
    for layer, head in heads:
        weight = layers[layer].self_attn.o_proj.weight
        own_DK = weight.unflatten(1, (model.config.num_attention_heads, -1))[:, head]
        u_D = normalize(v_LD[layer].to(weight.device), dim=-1)
        own_DK.copy_(own_DK.float() - gamma * torch.outer(u_D, u_D @ own_DK.float()))


def _means(model: CausalLM, tokens: int, ids: list[int]) -> tuple[Tensor, Tensor]:
    """Means over the last tokens: of the stream (L, D), and of the heads' outputs (L, W)."""
    means = []

    def note(_: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        means.append(inputs[0][0, -tokens:].float().mean(0).cpu())

    with ExitStack() as hooks:
        for layer in attention_layers(model):
            for module in (layer.self_attn.o_proj, layer.post_attention_layernorm):
                hooks.enter_context(module.register_forward_pre_hook(note))
        model.model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    return torch.stack(means[1::2]), torch.stack(means[::2])
