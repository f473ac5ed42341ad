"""What samples an evaluation's completions: transformers here, vLLM here, or a server.

Each engine has what `Engine` names. All are given token ids, so that the prompt is the same one everywhere, and the
fingerprint says which engine it was: figures of different engines are not compared without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lenrl.engine.sample import Completion
from lenrl.errors import BadInput

if TYPE_CHECKING:
    from lenrl.study.outcome import Decoding

ENGINES = ("transformers", "vllm", "server")


class Engine(Protocol):
    """A model ready to be sampled."""

    @property
    def name(self) -> str:
        """The model, as it was asked for."""
        ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def eos_ids(self) -> list[int]:
        """Ids that end a completion."""
        ...

    @property
    def think_prefilled(self) -> bool:
        """The chat template opens `<think>`."""
        ...

    @property
    def context(self) -> int | None:
        """Tokens of prompt and completion together that the model was made for; None: not stated."""
        ...

    def identity(self) -> dict[str, Any]:
        """`engine`, and what else of it moves the figures; part of the fingerprint."""
        ...

    def weights(self) -> str | None:
        """Short hash of the weights; None: they are elsewhere."""
        ...

    def sample(
        self,
        prompt_ids: Sequence[Sequence[int]],
        plan: Decoding,
        *,
        batch_size: int | None,
        done: Mapping[int, Completion],
        keep: Callable[[Mapping[int, Completion]], None],
        progress: Callable[[int], None],
    ) -> list[Completion]:
        """One completion a prompt, in their order.

        Args:
            prompt_ids: token ids; a prompt stands here once for each of its samples.
            plan: how to decode.
            batch_size: rows at a time; None: the engine's choice.
            done: completions by row that are known; they are not sampled.
            keep: is given completions by row as they come.
            progress: is given how many came, those of `done` first.
        """
        ...


def opened(engine: str, name: str, server_url: str | None, **options: Any) -> Engine:
    """The model on an engine.

    Args:
        engine: one of ENGINES.
        name: see `lenrl.models.find`; for a server, what it calls the model.
        server_url: of an OpenAI-compatible server, e.g. http://localhost:8000/v1.
        options: of `lenrl.study.models.load`.

    Raises:
        BadInput: no such engine or model, a package is missing, or the server does not answer.
    """
    if engine not in ENGINES:
        raise BadInput(f"engine={engine!r} is unknown; there are {', '.join(ENGINES)}")
    if (server_url is not None) != (engine == "server"):
        raise BadInput(
            f"engine={engine} and server_url={server_url}: engine=server needs a server_url, no other does"
        )
    if engine == "server":
        from lenrl.study.engines import server

        return server.connect(name, str(server_url), **options)
    if engine == "vllm":
        from lenrl.study.engines import offline

        return offline.load(name, **options)
    from lenrl.study import models

    return models.load(name, **options)
