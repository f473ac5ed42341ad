"""`steer`: the attention of every layer writes a share of the way from short to long thinking besides (ThinkEdit).

Source: arXiv 2503.22048. `lenrl edit` measures the way. Names end in their axes: L layers, D their stream.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from lenrl import files
from lenrl.errors import BadInput
from lenrl.generation.base import CausalLM, Engine
from lenrl.generation.controls.base import Control, ControlOptions, Dial
from lenrl.generation.controls.thinking import Thinking
from lenrl.generation.transformers_engine import TransformersEngine

DIRECTIONS = Path("steer", "directions.safetensors")  # not beside the weights: vLLM would take it for some
NORMS = {"input_layernorm", "post_attention_layernorm"}  # of a layer: no third one behind the heads


class Steer(Control):
    """Every layer's attention writes the dial times its direction besides; above 0 towards longer thinking."""

    whole = True
    dial_of = Dial("times the direction from short to long thinking", -10, 10)
    knows = frozenset({"steer"})

    def __init__(self, label: str, dial: float, options: ControlOptions) -> None:
        super().__init__(label, dial, options)
        if options.steer is None:
            raise BadInput(f"{label} needs control.steer=FOLDER, which lenrl edit wrote")
        try:
            with safe_open(options.steer / DIRECTIONS, "pt") as file:
                self._v_LD, self._weights = file.get_tensor("v_LD"), file.metadata()["weights"]
        except (OSError, SafetensorError, LookupError, TypeError) as error:
            reason = f"no directions ({error}); give what lenrl edit wrote"
            raise BadInput(f"control.steer={options.steer}: {reason}") from None

    def check(self, thinking: Thinking, cap: int, engine: Engine) -> None:
        if not isinstance(engine, TransformersEngine):
            raise BadInput(
                f"{self.label} acts inside of a model, where no server lets it: engine=transformers"
            )
        layers, weights = attention_layers(engine.model), engine.weights()
        shape, wanted = [*self._v_LD.shape], [len(layers), layers[0].self_attn.o_proj.out_features]
        if (self._weights, shape) != (weights, wanted):
            raise BadInput(
                f"control.steer={self.options.steer}: directions {shape} of the weights {self._weights}; "
                f"{engine.name!r} has {wanted}, {weights}: give the model, dtype and device of the edit, or lenrl edit "
                "this one"
            )

    def resolved(self, thinking: Thinking) -> dict[str, Any]:
        return {"steer": files.digest(self._v_LD.tolist(), size=6)}

    @contextmanager
    def inside(self, engine: Engine) -> Iterator[None]:
        with ExitStack() as hooks:
            for layer, v_D in zip(attention_layers(getattr(engine, "model", None)), self._v_LD, strict=True):
                project = layer.self_attn.o_proj
                added_D = (self.dial * v_D).to(project.weight)
                hooks.enter_context(project.register_forward_hook(lambda *got, by=added_D: got[-1] + by))
            yield


def attention_layers(model: CausalLM) -> Sequence[Any]:
    """Layers whose heads write by `o_proj`, and by nothing else, into what `post_attention_layernorm` reads."""
    layers = getattr(getattr(model, "model", None), "layers", ())
    for layer in layers or [model]:
        norms = {name for name, _ in layer.named_children() if "norm" in name}
        project = getattr(getattr(layer, "self_attn", None), "o_proj", None)
        if norms != NORMS or type(project) is not torch.nn.Linear:
            raise BadInput(
                f"{type(model).__name__} can't be edited or steered: its layers need self_attn.o_proj, not quantised, "
                f"and no norms but {' and '.join(sorted(NORMS))}, as in Llama and Qwen; merge an adapter first: lenrl "
                "merge"
            )
    return layers
