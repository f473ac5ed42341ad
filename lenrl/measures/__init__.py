"""Measures of completions, and how sure one can be of them: pure functions of arrays and texts.

Axes: P prompts, S samples of one prompt. Verdicts are 1, 0 or NaN (unknown); tokens count the
end-of-text token. All intervals are 95 % intervals over prompts: they speak of new problems of the same
kind, not of new samples of the same problems. Definitions and sources: docs/measures.md.
"""

from lenrl.measures.arrays import Answers, rows_of_each
from lenrl.measures.best import Ranking, certainty, rank
from lenrl.measures.budget import accuracy_within, area_within, pareto_front, right_within
from lenrl.measures.coleg import every_round, figures_of_rounds
from lenrl.measures.deferral import SUMMARIES, cascade, summarise
from lenrl.measures.excess import (
    CONSTRAINTS,
    RULER_LEVELS,
    RULER_RANGES,
    constraint_limits,
    constraint_score,
    in_range,
    length_score,
    words,
    words_or_signs,
    yap_index,
    yap_score,
)
from lenrl.measures.failed_steps import Structure, by_attempts, by_cues, by_graph, chosen_by, paragraphs
from lenrl.measures.frontier import above_front, cuts, doubling, mixture
from lenrl.measures.intervals import Estimate, accuracy, mean_share, mean_tokens
from lenrl.measures.length_curve import LEAST_SAMPLES, at_fixed_problem, by_length
from lenrl.measures.lengths import loops, prompt_lengths
from lenrl.measures.paired import AES_FALL, AES_RISE, Comparison, aes, compare
from lenrl.measures.reach import reach, reach_lost
from lenrl.measures.samples import pass_at_k, percentile, tokens_by_verdict
from lenrl.measures.vote import (
    PICKS,
    VOTE_WIDTH,
    VOTERS,
    agreement,
    length_filtered_vote,
    majority_vote,
    pick_correct,
    steps,
    vote_verdicts,
)
from lenrl.measures.winrate import WinRate, win_rate
