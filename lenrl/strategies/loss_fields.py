"""GRPOConfig fields that shape TRL's loss, and mean nothing where an objective replaces it."""

LOSS_FIELDS = (
    "loss_type", "beta", "delta", "epsilon", "epsilon_high", "importance_sampling_level", "top_entropy_quantile",
    "entropy_coef", "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta",
    "entropy_target", "router_aux_loss_coef", "sapo_temperature_neg", "sapo_temperature_pos",
    "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg",
    "off_policy_mask_threshold", "use_bias_correction_kl", "sync_ref_model", "ref_model_mixup_alpha",
    "ref_model_sync_steps",
    "vllm_importance_sampling_correction", "vllm_importance_sampling_mode", "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min", "vllm_importance_sampling_cap",
)  # fmt: skip
