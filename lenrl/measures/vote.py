"""One answer from several samples of a prompt: by majority, by majority among lengths, or the shortest."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from lenrl.measures.arrays import Array, table

VOTERS = 3  # samples a prompt; with fewer a vote is the first answer
VOTE_WIDTH = 2  # steps of a bucket of lengths
VOTE_BUCKETS = 3  # that vote

Spelled = Sequence[str | None]  # the answers of a prompt, equal ones in one spelling


def majority_vote(answers: Spelled) -> str | None:
    """The most frequent answer; of equally frequent ones that which came first. None does not vote.

    >>> majority_vote(["7", None, "8", "8"])
    '8'
    """
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts, key=counts.__getitem__) if counts else None  # insertion order breaks ties


def length_filtered_vote(
    answers: Spelled, lengths: Sequence[int], *, width: int = VOTE_WIDTH, buckets: int = VOTE_BUCKETS
) -> str | None:
    """Majority over the buckets of length whose answers agree best.

    Answers are put into buckets by `length // width`; the `buckets` ones with the lowest entropy of answers
    vote. Buckets of one answer, whose entropy says nothing, are ignored; if that leaves none, all answers
    vote. Of equal entropies the larger bucket comes first, then the shorter one.

    Source: Wu et al., arXiv 2502.07266: width 2, 3 buckets, lengths in steps (see `steps`). The paper does not
    say what happens to buckets of one or to ties.

    >>> length_filtered_vote(["1", "1", "2", "2", "2", "3"], [2, 3, 8, 8, 9, 8], buckets=1)
    '1'
    """
    if width < 1 or buckets < 1:
        raise ValueError(f"width={width} and buckets={buckets}: both are at least 1")
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, (answer, length) in enumerate(zip(answers, lengths, strict=True)):
        if answer is not None:
            by_length[length // width].append(place)
    several = [(number, places) for number, places in by_length.items() if len(places) > 1]
    if not several:
        return majority_vote(answers)
    several.sort(key=lambda item: (_entropy([answers[i] for i in item[1]]), -len(item[1]), item[0]))
    places = sorted(place for _, chosen in several[:buckets] for place in chosen)
    return majority_vote([answers[place] for place in places])


def vote_verdicts(
    answers_PS: Sequence[Spelled], correct_PS: ArrayLike, elect: Callable[[int, Spelled], str | None]
) -> Array:
    """The verdict of each prompt's elected answer, (P, 1): 0 where nobody answered, NaN if it is unknown.

    Args:
        answers_PS: texts, in a spelling in which equal answers are equal.
        correct_PS: their verdicts.
        elect: gives the answer of (prompt, its answers).
    """
    verdicts = []
    for row, (answers, correct) in enumerate(zip(answers_PS, table(correct_PS), strict=True)):
        elected = elect(row, answers)
        verdicts.append(0.0 if elected is None else correct[list(answers).index(elected)])
    return np.array(verdicts)[:, None]


def agreement(answers_PS: Sequence[Spelled]) -> Array | None:
    """(P, S) share of a prompt's samples that give the same answer; 0 where there is none. None below `VOTERS` samples.

    >>> agreement([["7", None, "8", "8"]]).tolist()
    [[0.25, 0.0, 0.5, 0.5]]
    """
    if len(answers_PS[0]) < VOTERS:
        return None
    return np.array(
        [[(a is not None) * row.count(a) / len(row) for a in row] for row in map(list, answers_PS)]
    )


def pick_correct(
    correct_PS: ArrayLike, tokens_PS: ArrayLike, truncated_PS: ArrayLike, pick: str = "shortest"
) -> list[int | None]:
    """For each prompt its shortest (longest, first) correct sample that was not cut, of equals the first; None: none.

    Source: Yang et al., arXiv 2502.18080, who fine-tune on the shortest.
    """
    usable = (table(correct_PS) == 1) & (table(truncated_PS) == 0)
    worth = np.where(usable, PICKS[pick](table(tokens_PS)), np.inf)
    return [int(row.argmin()) if math.isfinite(row.min()) else None for row in worth]


PICKS: dict[str, Callable[[Array], Array]] = {
    "shortest": lambda tokens_N: tokens_N,
    "longest": lambda tokens_N: -tokens_N,
    "first": np.zeros_like,
}


def steps(text: str) -> int:
    """Steps of a completion: its lines that are not blank, so that blank lines between paragraphs add none."""
    return sum(bool(line.strip()) for line in text.splitlines())


def _entropy(answers: Spelled) -> float:
    shares = np.array(list(Counter(answers).values())) / len(answers)
    return round(float(-(shares * np.log(shares)).sum()), 12)  # equal ones must compare equal
