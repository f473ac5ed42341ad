"""The best setting of a sweep with its interval, and those that can't be told apart from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenrl import measures
from lenrl.files import read_json
from lenrl.measures import Answers
from lenrl.measures.format import estimate, named, points, share, tokens
from lenrl.sweeps import ledger
from lenrl.sweeps.ledger import Trial


@dataclass(frozen=True)
class Setting:
    """Trials that differ in their seeds alone, on the same problems."""

    name: str
    trials: tuple[int, ...]
    answers: Answers

    @property
    def accuracy(self) -> measures.Estimate | None:
        return measures.accuracy(self.answers.by_base.correct_PS)

    @property
    def tokens(self) -> float:
        return float(self.answers.tokens_PS.mean())


class Winner:
    """The most accurate setting, compared problem by problem with all others."""

    def __init__(self, settings: Sequence[Setting], ranking: measures.Ranking, split: str) -> None:
        self.settings = list(settings)
        self.ranking = ranking
        self.split = split

    @property
    def best(self) -> Setting:
        return self.settings[self.ranking.best]

    @property
    def shortest(self) -> Setting:
        """Of those that are not told apart from the best the one with the fewest tokens."""
        alike = [self.settings[number] for number in (self.ranking.best, *self.ranking.tied)]
        return min(alike, key=lambda setting: setting.tokens)

    def lines(self) -> list[str]:
        """The words at the end of the sweep."""
        names = [setting.name for setting in self.settings]
        problems = f"{len(self.best.answers.prompts)} {self.split} problems"
        said = [f"Best: {self._figures(self.best)}, on {problems}"]
        certainty = measures.certainty(self.ranking, names, points)
        said.append(f"  {certainty} (95 % intervals over problems, for all settings at once)")
        if self.shortest is not self.best:
            said.append(f"Shortest of those: {self._figures(self.shortest)}")
        return said

    def as_json(self) -> dict[str, Any]:
        """Plain values for `sweep.json`."""
        behind = {
            setting.name: {"accuracy": e.value, "ci95": e.ci95}
            for setting, e in zip(self.settings, self.ranking.behind, strict=True)
            if e
        }
        return {
            "setting": self.best.name,
            "trials": list(self.best.trials),
            **named("accuracy", self.best.accuracy),
            "tokens": self.best.tokens,
            "measured_on": self.split,
            "behind": behind,
            "not_told_apart": [self.settings[number].name for number in self.ranking.tied],
            "shortest": self.shortest.name,
        }

    def _figures(self, setting: Setting) -> str:
        numbers = ", ".join(map(str, setting.trials))
        which = f"trial{'s' if len(setting.trials) > 1 else ''} {numbers}"
        accuracy = estimate(setting.accuracy, share)
        return f"{setting.name} ({which}): accuracy {accuracy}, {tokens(setting.tokens)} tokens"


def winner(folder: Path, trials: Sequence[Trial]) -> Winner | None:
    """The winner of a sweep's finished trials; None: fewer than two settings, or not on the same problems."""
    done = [t for t in trials if t.status == ledger.FINISHED and t.accuracy is not None]
    splits = {t.measured_on for t in done}
    if len(splits) != 1:
        return None
    split = str(splits.pop())
    groups: dict[str, list[tuple[Trial, Answers]]] = {}
    first: Answers | None = None
    for trial in done:
        own = _dev(folder / trial.run) if split == "dev" else _test(folder / trial.run)
        first = first or own
        own = first and own and own.in_order_of(first)
        if own is None:
            return None
        words = [word for word in trial.overrides if not word.startswith("seed=")]
        groups.setdefault(" ".join(words) or " ".join(trial.overrides), []).append((trial, own))
    settings = []
    for name, group in groups.items():
        trials, answers = zip(*group, strict=True)
        settings.append(Setting(name, tuple(t.trial for t in trials), Answers.together(answers)))
    ranking = measures.rank([s.answers.by_base.correct_PS for s in settings], [s.tokens for s in settings])
    return Winner(settings, ranking, split) if ranking is not None and len(settings) > 1 else None


def _dev(run: Path) -> Answers | None:
    """Of the last development evaluation, which the trial's figures are of."""
    found = read_json(run / "dev_problems.json", {})
    try:
        return Answers.of_rows(found["prompt_id"], found["correct"], found["tokens"], bases=found.get("base"))
    except (KeyError, TypeError, ValueError):  # a run of an older version has none
        return None


def _test(run: Path) -> Answers | None:
    """Of the trained model's completions on the test problems, as its summary counts them: the first decoding."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        models = read_json(run / "eval.json", {})["models"]
        last = next(m for m in models if m["model"] == models[-1]["model"])
        path, names = run / Path(last["completions"]).name, ("prompt_id", "verdict", "tokens")
        told = {"base"}.intersection(pq.read_schema(path).names)  # an older version wrote none
        table = pq.read_table(path, columns=[*names, *told]).to_pydict()
        return Answers.of_rows(*(table[name] for name in names), bases=table.get("base"))
    except (KeyError, TypeError, ValueError, IndexError, StopIteration, OSError, pa.ArrowException):
        return None
