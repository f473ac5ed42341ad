"""What the cells of scripts/atlas.py measured: a point is a method at one place of its dial, its seeds together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from atlas import COMPARED, PLAN, Cell, Curve, samples

from lenrl.measures import Answers

PLAIN = "grpo"

Array = np.ndarray


@dataclass(frozen=True)
class Point:
    """Verdicts and tokens, (P, S x seeds), of a method at one place of its dial, and the problems' difficulties."""

    seeds: tuple[int, ...]
    correct_PS: Array
    tokens_PS: Array
    difficulty_P: Array

    @cached_property
    def answers(self) -> Answers:
        return Answers(
            range(len(self.correct_PS)), self.correct_PS, self.tokens_PS, np.zeros_like(self.tokens_PS)
        )

    @cached_property
    def means_P2(self) -> Array:
        return np.stack([self.correct_PS.mean(axis=1), self.tokens_PS.mean(axis=1)], axis=1)

    def of_seed(self, seed: int) -> Point:
        width = self.correct_PS.shape[1] // len(self.seeds)
        at = self.seeds.index(seed) * width
        part = slice(at, at + width)
        return Point((seed,), self.correct_PS[:, part], self.tokens_PS[:, part], self.difficulty_P)

    @property
    def accuracy_of_seeds(self) -> list[float]:
        return [float(self.of_seed(seed).correct_PS.mean()) for seed in self.seeds]


@cache
def answers(folder: Path, S: int, control: str = "none") -> tuple[Array, Array, Array] | None:
    """Verdicts, tokens and difficulties of an evaluation of one model under one control; unknown counts as wrong."""
    if not (folder / "eval.json").exists():
        return None
    models = json.loads((folder / "eval.json").read_text())["models"]
    entry = next((entry for entry in models if entry["control"] == control), None)
    if entry is None:
        return None
    columns = pq.read_table(
        folder / entry["completions"], columns=["verdict", "tokens", "difficulty"]
    ).to_pydict()
    verdicts, tokens = (np.array(columns[name], dtype=float).reshape(-1, S) for name in ("verdict", "tokens"))
    return np.nan_to_num(verdicts), tokens, np.array(columns["difficulty"])[::S]


def point(cells: Sequence[Cell], test: str, control: str = "none", further: bool = False) -> Point | None:
    """Cells that differ in their seeds, taken together; None: none of them is measured."""
    found = [
        (cell.seed, read)
        for cell in cells
        if (read := answers(cell.tested(test, further), samples(cell.bed), control))
    ]
    if not found:
        return None
    correct, tokens, difficulty = zip(*(read for _, read in found), strict=True)
    return Point(tuple(seed for seed, _ in found), np.hstack(correct), np.hstack(tokens), difficulty[0])


def points(bed: str, method: str, test: str) -> dict[int, Point]:
    """Of each place of the dial that is measured."""
    curve = Curve(bed, method)
    found = {place: point(curve.cells(COMPARED, [place]), test) for place in range(len(curve.dial[1]))}
    return {place: one for place, one in found.items() if one}


def base_points(bed: str, test: str) -> dict[str, Point]:
    """Of the base as it is, `none`, and under each control that is measured."""
    cells, plan = [Cell(bed, "base", 0, seed) for seed in COMPARED], PLAN["testbeds"][bed]
    found = {name: point(cells, test, name) for name in ("none", *plan["controls"])}
    for name in plan.get("further", {}).get("controls", []):
        found[name] = point(cells, test, name, further=True)
    return {name: one for name, one in found.items() if one}
