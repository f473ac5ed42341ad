"""Early stop of a trial by its curve on the development problems, against its own start and against finished trials.

A trial is stopped if, in its last two evaluations,
- it has *collapsed*: its accuracy is below half of what it began with; or
- it is *dominated*: the same finished trial was then at least 5 points more accurate with at least 10 % fewer
  tokens.

Two in a row, and margins on both sides, because one evaluation of a few hundred problems is noise; what is merely
behind in one of the two may still end on the front.
"""

from collections.abc import Mapping, Sequence

from lenrl.sweeps.measured import Point

IN_A_ROW = 2  # evaluations
COLLAPSED = 0.5  # of the first accuracy
ACCURACY_MARGIN = 0.05
TOKENS_MARGIN = 0.1


def early_stop(curve: Sequence[Point], finished: Mapping[int, Sequence[Point]]) -> str | None:
    """Reason to stop a trial with this curve, or None.

    Args:
        curve: its evaluations so far; the first is before training.
        finished: the curves of finished trials, by number.

    >>> start = Point(0, 0.8, 90)
    >>> early_stop([start, Point(20, 0.3, 10), Point(40, 0.2, 8)], {})
    'collapsed: accuracy 20% at step 40, 80% at the start'
    >>> good = [start, Point(20, 0.85, 60), Point(40, 0.9, 40)]
    >>> early_stop([start, Point(20, 0.79, 80), Point(40, 0.8, 70)], {3: good})
    'dominated: at step 40 trial 3 had accuracy 90% with 40 tokens, this one 80% with 70'
    """
    trained = list(curve[1:])[-IN_A_ROW:]
    if len(trained) < IN_A_ROW:
        return None
    last = trained[-1]
    if all(point.accuracy < COLLAPSED * curve[0].accuracy for point in trained):
        return f"collapsed: accuracy {last.accuracy:.0%} at step {last.step}, {curve[0].accuracy:.0%} at the start"
    for number, points in finished.items():
        then = {point.step: point for point in points}
        if all(point.step in then and _dominates(then[point.step], point) for point in trained):
            other = then[last.step]
            return (
                f"dominated: at step {last.step} trial {number} had accuracy {other.accuracy:.0%} with "
                f"{other.tokens:.0f} tokens, this one {last.accuracy:.0%} with {last.tokens:.0f}"
            )
    return None


def _dominates(one: Point, other: Point) -> bool:
    return (
        one.accuracy >= other.accuracy + ACCURACY_MARGIN and one.tokens <= (1 - TOKENS_MARGIN) * other.tokens
    )
