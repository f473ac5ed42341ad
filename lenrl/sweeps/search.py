"""Trials drawn by Optuna: high accuracy and few tokens at once (multi-objective TPE).

Optuna's own file, `optuna.journal`, remembers what was drawn and what came of it (`optuna-dashboard` reads it);
the ledger says what has happened, and wins where they differ: what was not told before a kill is told at the
next start, and what was drawn but never begun has failed.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from lenrl.config import Axis
from lenrl.errors import BadInput
from lenrl.sweeps import ledger
from lenrl.sweeps.ledger import Trial
from lenrl.sweeps.plan import MOST_TRIALS, Plan, TrialRefused

FILE = "optuna.journal"
MOST_DRAWS = 200  # for one new trial; after so many known ones the space counts as searched
MOST_REFUSED = 20  # combinations drawn for one trial
# Optuna's attribute that holds our number: the two differ where Optuna drew a known trial again
TRIAL = "trial"
Work = tuple[int, list[str]]  # a trial's number, and its overrides


class Search:
    """The study of one sweep; several processes may each have one, with an `index` of its own."""

    def __init__(self, plan: Plan, index: int = 0) -> None:
        try:
            import optuna
        except ImportError:
            raise BadInput(
                "--trials searches with Optuna, which is not installed: pip install 'lenrl[sweep]'."
            ) from None
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = JournalStorage(JournalFileBackend(str(plan.folder / FILE)))
        name = plan.digest
        self.study: Any = optuna.create_study(
            study_name=name, storage=storage, directions=["maximize", "minimize"], load_if_exists=True
        )
        # Neither a search that is continued nor another index of an array draws the same once more.
        seed = len(self.study.get_trials(deepcopy=False)) * MOST_TRIALS + index
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of its options count as experimental
            self.study.sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=max(4, (plan.draws or 0) // 4)
            )
        self.plan = plan
        self.axes = plan.grid.axes
        self.refused: set[tuple[str, ...]] = set()
        self.space = {axis.key: _distribution(axis) for axis in self.axes}

    def trials(self, only: int | None, say: Callable[[str], None]) -> Iterator[Work]:
        """The trials that are not done, prepared: those that were begun, then new ones.

        Args:
            only: the one of an array.
            say: told of combinations that are refused.
        """
        begun = ledger.read(self.plan.folder)
        self.forget(begun, only)
        numbers = range(self.plan.count) if only is None else [only]
        for number in sorted(numbers, key=lambda n: n not in begun):
            known = ledger.read(self.plan.folder)
            self.tell(known)
            if number in known and known[number].done:
                continue
            self.plan.refuse_changes()
            if number in known:
                overrides = list(known[number].overrides)
                self.plan.prepare(number, overrides)
            elif (overrides := self._new(number, known, say)) is None:
                return
            ledger.append(self.plan.folder, number, ledger.PLANNED, overrides)
            yield number, overrides

    def _new(self, number: int, known: dict[int, Trial], say: Callable[[str], None]) -> list[str] | None:
        """The overrides of a new trial, prepared; None where the space holds no more.

        Raises:
            TrialRefused: so are all of MOST_REFUSED combinations.
        """
        last = None
        for _ in range(MOST_REFUSED):
            overrides = self.draw(number, known)
            if overrides is None:
                return None
            try:
                self.plan.prepare(number, overrides)
                return overrides
            except TrialRefused as fault:
                last = fault
                self.refused.add(tuple(overrides))
                self.forget(known, number)
                say(f"{fault}\nThe search leaves it out.")
        raise TrialRefused(f"refused {MOST_REFUSED} times in a row; narrow the space. The last was: {last}")

    def draw(self, trial: int, known: dict[int, Trial]) -> list[str] | None:
        """The overrides of a new trial, or None where the space holds no more.

        Args:
            known: the ledger: what it holds is not drawn again, nor is what was refused.
        """
        tried = {t.overrides: t for t in known.values()}
        for _ in range(MOST_DRAWS):
            drawn = self.study.ask(self.space)
            overrides = self._overrides(drawn)
            if overrides in self.refused:
                self._tell(drawn.number, None)
            elif overrides in tried:
                self._tell(drawn.number, tried[overrides])
            else:
                drawn.set_user_attr(TRIAL, trial)
                return list(overrides)
        return None

    def tell(self, known: dict[int, Trial]) -> None:
        """Tell Optuna of trials that it waits for and the ledger holds."""
        for frozen in self._waiting():
            trial = self._known(frozen, known)
            if trial is not None and trial.done:
                self._tell(frozen.number, trial)

    def forget(self, known: dict[int, Trial], only: int | None) -> None:
        """Tell Optuna that trials failed which it waits for and the ledger lacks: drawn, and never begun.

        `only`: of this number alone; other tasks of an array may just have drawn theirs.
        """
        for frozen in self._waiting():
            if only in (None, frozen.user_attrs.get(TRIAL)) and self._known(frozen, known) is None:
                self._tell(frozen.number, None)

    def _waiting(self) -> list[Any]:
        return [frozen for frozen in self.study.get_trials(deepcopy=False) if not frozen.state.is_finished()]

    def _known(self, frozen: Any, known: dict[int, Trial]) -> Trial | None:
        """The ledger's trial that a trial of Optuna's is: of its number, with its overrides."""
        trial = known.get(frozen.user_attrs.get(TRIAL))
        return trial if trial is not None and trial.overrides == self._overrides(frozen) else None

    def _overrides(self, drawn: Any) -> tuple[str, ...]:
        return tuple(f"{axis.key}={_text(axis, drawn.params[axis.key])}" for axis in self.axes)

    def _tell(self, number: int, trial: Trial | None) -> None:
        from optuna.trial import TrialState

        if trial is not None and trial.done and trial.accuracy is not None and trial.tokens is not None:
            self.study.tell(number, [trial.accuracy, trial.tokens])
        else:
            self.study.tell(number, state=TrialState.FAIL)


def _distribution(axis: Axis) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.ordered:  # by position: near values are alike, whatever their steps
        return IntDistribution(0, len(axis.values) - 1)
    if axis.values:
        return CategoricalDistribution(axis.values)
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _text(axis: Axis, value: Any) -> str:
    """A drawn value as the grammar writes it; three digits of a float say enough of a setting, within the interval."""
    if axis.ordered:
        return axis.values[value]
    if axis.values or axis.whole:
        return str(value)
    rounded = f"{value:.3g}"
    return (
        rounded
        if axis.low <= float(rounded) <= axis.high
        else str(min(max(float(rounded), axis.low), axis.high))
    )
