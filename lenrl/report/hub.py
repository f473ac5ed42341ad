"""A finished run to the hub: the best checkpoint's weights, its card, its report, and nothing else."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from lenrl.errors import BadInput, RunFailed
from lenrl.redact import printable
from lenrl.report.card import model_card

if TYPE_CHECKING:
    from lenrl.config import Recipe

log = logging.getLogger("lenrl")

# Of a checkpoint's folder: no optimizer, no random streams, no rollout, no pickle.
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
RUN_FILES = ("report.html", "recipe.yaml", "eval.json")


def check(recipe: Recipe) -> None:
    """Refuse at the start what would fail at the end of the training.

    Raises:
        BadInput: hub.push without a valid hub.repo, without a token, or offline.
    """
    if not recipe.hub.push:
        return
    if recipe.hub.repo is None:
        raise BadInput("hub.push=true needs hub.repo=OWNER/NAME, where the model goes")
    try:
        validate_repo_id(recipe.hub.repo)
    except HFValidationError as fault:
        raise BadInput(f"hub.repo={recipe.hub.repo!r} is no repository's name: {fault}") from None
    if constants.HF_HUB_OFFLINE:
        raise BadInput("hub.push=true while HF_HUB_OFFLINE is set; unset it, or push later: hub.push=false")
    if not get_token():
        raise BadInput("hub.push=true needs a token with write access: run `hf auth login`, or set HF_TOKEN")


def best_folder(run_dir: Path) -> Path:
    """The best checkpoint by the development problems where there is one, else the final model."""
    path = run_dir / "training.json"
    step = json.loads(path.read_text()).get("best_step") if path.is_file() else None
    best = run_dir / f"checkpoint-{step}"
    return best if step and best.is_dir() else run_dir / "model"


def operations(run_dir: Path) -> list[CommitOperationAdd]:
    """The files to upload, by their paths in the repository."""
    folder = best_folder(run_dir)
    files = {path.name: path for pattern in MODEL_FILES for path in sorted(folder.glob(pattern))}
    files |= {name: run_dir / name for name in RUN_FILES if (run_dir / name).is_file()}
    card = str(model_card(run_dir)).encode()
    return [
        CommitOperationAdd("README.md", card),
        *(CommitOperationAdd(name, path) for name, path in files.items()),
    ]


def commit(
    run_dir: Path,
    repo: str,
    message: str,
    *,
    private: bool | None,
    token: str | None = None,
    revision: str | None = None,
    blocking: bool = True,
) -> Any:
    """Upload in one commit; huggingface_hub's `CommitInfo`, where it is not waited for its `Future`.

    Raises:
        RunFailed: the hub cannot be reached or refuses it.
    """
    try:
        api = HfApi(library_name="lenrl", token=token)
        repo = api.create_repo(repo, private=private, exist_ok=True).repo_id
        options: Any = {"commit_message": message, "revision": revision, "run_as_future": not blocking}
        return api.create_commit(repo, operations(run_dir), **options)
    except (HfHubHTTPError, OSError, ValueError) as fault:
        raise RunFailed(f"{repo} was not pushed: {printable(str(fault))}") from fault


def push(run_dir: Path, repo: str, *, private: bool) -> str | None:
    """Upload in one commit; its address. None: it failed, which is logged, and leaves the run as it is."""
    try:
        message = f"{run_dir.name}: {best_folder(run_dir).name}"
        return commit(run_dir, repo, message, private=private).commit_url
    except RunFailed as fault:
        log.error("the run is finished, but %s", fault)
        log.error("the same command with hub.push=true pushes it, without a further step")
        return None
