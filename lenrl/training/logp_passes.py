"""Overrides of TRL where a model scores tokens: log-probs of rows of similar lengths at a time, of whatever policy."""

import math

import torch
from torch import Tensor, nn

from lenrl.training.checkpointing import CheckpointedGRPO
from lenrl.training.chunks import Chunks
from lenrl.training.loss import PolicyUpdate, Scored
from lenrl.training.trl_batch import TrlBatch

OVERRIDES = {
    "_get_per_token_logps_and_entropies": (
        "(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, "
        "compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, pixel_attention_mask=None, "
        "spatial_shapes=None, num_tiles=None, image_sizes=None, token_type_ids=None, mm_token_type_ids=None, "
        "image_position_ids=None)"
    ),
}
"""Private methods of TRL that are overridden."""


class LogpPasses(CheckpointedGRPO):
    """GRPO whose passes are counted and leave padding out. The attributes below are the subclass's to set."""

    chunks: Chunks | None  # None: the whole micro-batch, as TRL does it
    update: PolicyUpdate  # is told what it computes
    _scored: Scored | None = None  # of the newest forward with gradient, until its loss is known

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, **more
    ):
        """TRL's, of rows of similar lengths at a time; counts what the update computes."""
        score = super()._get_per_token_logps_and_entropies

        def forward(ids: Tensor, mask: Tensor, width: int) -> tuple[Tensor, Tensor | None]:
            if torch.is_grad_enabled():
                self.update.count(ids)
            return score(model, ids, mask, width, **more)[:2]

        if self.chunks is not None:
            rows = batch_size or len(input_ids)
            scored = *self.chunks.score(forward, input_ids, attention_mask, logits_to_keep, rows), None
        else:
            if torch.is_grad_enabled():
                self.update.count(input_ids)
            scored = score(model, input_ids, attention_mask, logits_to_keep, batch_size, **more)
        self._scored = scored[:2] if torch.is_grad_enabled() else None
        return scored

    def _first_logits(self, model: nn.Module, batch: TrlBatch) -> Tensor:
        """Logits (N, V), with gradient, of the first token after each row's bare prompt, a group's computed once."""
        assert "bare_prompt_ids" in batch and "bare_prompt_mask" in batch
        both = torch.cat([batch["bare_prompt_ids"], batch["bare_prompt_mask"]], dim=1)
        rows, place_N = both.unique(dim=0, return_inverse=True)
        ids, mask = rows.chunk(2, dim=1)
        self.update.count(ids)
        with self.accelerator.autocast():
            logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=1, use_cache=False).logits
        return logits[:, -1].float()[place_N]

    def _logps(self, model: nn.Module, batch: TrlBatch, **options: int) -> tuple[Tensor, Tensor | None]:
        """Log-probs and, if asked for, entropies (N, T), at the sampling temperature."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        width = batch["completion_ids"].size(1)
        return self._get_per_token_logps_and_entropies(model, ids, mask, width, **options)[:2]

    @torch.no_grad()
    def _frozen_logps(self, batch: TrlBatch, **options: int) -> tuple[Tensor, Tensor | None]:
        return self._logps(self.model, batch, **options)

    def _known_logps(self, batch: TrlBatch) -> Tensor | None:
        """TRL computes these only for updates that reuse a rollout, and the sampler hands them out where asked to."""
        sampled = None if self.use_vllm else batch.get("sampling_per_token_logps")
        return batch.get("old_per_token_logps", sampled)

    def _rollout_logps(self, batch: TrlBatch) -> Tensor:
        known = self._known_logps(batch)
        if known is not None:
            return known
        return self._frozen_logps(batch, batch_size=self.args.per_device_train_batch_size)[0]

    def _teacher_logps(self, batch: TrlBatch) -> Tensor:
        """Of the teacher, of a batch with its prompts; NaN in rows that do not fit its context."""
        assert self.teacher is not None
        with self.teacher.in_place():
            logp_NT = self._frozen_logps(batch, batch_size=self.args.per_device_train_batch_size)[0]
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        tokens_N = batch["prompt_mask"].sum(1) + batch["completion_mask"].sum(1)
        return logp_NT if context is None else logp_NT.masked_fill((tokens_N > context)[:, None], math.nan)
