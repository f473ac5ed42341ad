"""Longer tellings of a problem: sentences of scenery between its own, which change neither conditions nor answer.

After E-GSM (arXiv 2405.14804), whose rounds a model rewrote; here nothing is rewritten.
"""

import itertools
import random
import re

A_ROUND = 8  # sentences; about 115 words
SUFFIX = 2  # sentences at a question's end that ask for the form of the answer
SENTENCE_END = re.compile(
    r"(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bProf\.)(?<!\bSt\.)(?<=[.?!])\s+"
)
# Nobody acts, and nothing is counted or measured.
SUBJECTS = (
    "The road outside the village", "The river behind the meadow", "The garden beside the chapel",
    "The bridge near the harbour", "The plaza under the lanterns", "The path along the hedge",
    "The hill above the orchard", "The barn beyond the pasture", "The market beneath the arches",
    "The lane towards the forest", "The school across the stream", "The library next to the park",
    "The station by the crossing", "The field around the windmill",
)  # fmt: skip
PREDICATES = (
    "was still wet from the rain of the morning", "lay quiet under a pale and slowly drifting sky",
    "smelled faintly of wet leaves and of fresh paint", "looked greener again in the soft light of spring",
    "was lined with tall trees and with painted benches", "had been swept clean by a warm and dusty wind",
    "stayed calm while thunder rolled over the distant mountains", "seemed bright after such a long and gloomy winter",
    "was known for wild flowers and for loud birdsong", "rested in deep shade until late in the afternoon",
    "appeared on a faded postcard in a bakery window", "was covered by a thin and silvery morning mist",
)  # fmt: skip
BANK = tuple(f"{subject} {predicate}." for subject, predicate in itertools.product(SUBJECTS, PREDICATES))


def sentences(text: str) -> list[str]:
    """The sentences of a text; a title ends none.

    >>> sentences("Mrs. Garcia has 3 cats. How many?")
    ['Mrs. Garcia has 3 cats.', 'How many?']
    """
    return SENTENCE_END.split(text.strip())


def lengthened(text: str, rounds: int, seed: int) -> str:
    """The text with `A_ROUND` sentences of scenery a round before its own sentences, in turn from the front.

    The last `SUFFIX` sentences, and the question before them, stay together at the end. A round holds what the one
    before it holds, at the same places.
    """
    own = sentences(text)
    told, suffix = own[:-SUFFIX], own[-SUFFIX:]
    scenery = random.Random(seed).sample(BANK, len(BANK))[: A_ROUND * rounds]
    before = [scenery[place :: len(told)] for place in range(len(told))]
    parts = [" ".join([*extra, sentence]) for extra, sentence in zip(before, told, strict=True)]
    return " ".join([*parts, *suffix])
