"""The picture of a testbed: accuracy over tokens, a line a method through its dial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from atlas_fronts import front
from atlas_points import PLAIN, Array, base_points, points


def picture(bed: str, test: str, methods: Sequence[str], path: Path) -> None:
    """Accuracy over tokens, a line a method through its dial, and again what lies near 0/1 reward."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "lenrl"
    figure, (whole, near) = plt.subplots(1, 2, figsize=(11.5, 4.6))
    free_K2 = np.array([one.means_P2.mean(axis=0) for one in base_points(bed, test).values()])
    places = {
        method: np.array([one.means_P2.mean(axis=0) for one in found.values()])
        for method in methods
        if (found := points(bed, method, test))
    }
    for axes in (whole, near):
        _draw(axes, free_K2, places)
        axes.grid(alpha=0.3)
        axes.set(xlabel="tokens a completion")
    (right, tokens) = places[PLAIN][0]
    near.set(xlim=(0.72 * tokens, 1.08 * tokens), ylim=(right - 0.08, right + 0.04), title=f"near {PLAIN}")
    whole.set(ylabel="accuracy", title="all")
    figure.legend(*whole.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 0.82, 1))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw(axes: Any, free_K2: Array, places: dict[str, Array]) -> None:
    """The base and what its controls reach, in grey, and the methods."""
    from matplotlib import color_sequences

    colours = [*color_sequences["tab10"], *color_sequences["Dark2"]]
    tokens, right = front(free_K2)
    grey = {"color": "#888888", "zorder": 1}
    reached = [*right[1:], right[-1]]
    axes.plot([*tokens[1:], max(free_K2[:, 1].max(), tokens[-1])], reached, lw=5, alpha=0.35, **grey)
    axes.scatter(free_K2[1:, 1], free_K2[1:, 0], s=14, label="base under controls,\nwithout training", **grey)
    axes.scatter(free_K2[0, 1], free_K2[0, 0], s=60, marker="s", color="black", label="base")
    for number, (method, place_K2) in enumerate(places.items()):
        if method == PLAIN:
            star = {"s": 150, "marker": "*", "color": "black", "zorder": 4}
            axes.scatter(place_K2[:, 1], place_K2[:, 0], label=f"{PLAIN}: 0/1 reward", **star)
            continue
        style = {"color": colours[number % len(colours)], "marker": "ovDs^P"[number % 6], "ms": 5, "lw": 1.3}
        axes.plot(place_K2[:, 1], place_K2[:, 0], label=method, **style)
