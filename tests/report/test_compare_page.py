"""The comparison as its readers meet it: drawn, sorted, filtered, and without a word to the network."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lenrl.report import page as report
from lenrl.report import sources
from lenrl.report.compare import Compared
from tests.report.conftest import opened

HOSTILE = (
    "</pre></script><script>document.title = 'pwned'</script><img src=x onerror=\"document.title='pwned'\">"
)


def evaluation(folder, model, right, longest, samples=2):
    """A folder of `lenrl eval`: 30 problems of two difficulties."""
    rng = random.Random(right)
    rows = [
        {
            "prompt_id": f"q{number}",
            "prompt": f"problem {number} {HOSTILE}",
            "completion": f"{model} thinks about {number} {HOSTILE}",
            "verdict": rng.random() < right,
            "tokens": rng.randint(5, longest),
            "truncated": False,
            "difficulty": "easy" if number % 3 else "hard",
        }
        for number in range(30)
        for _ in range(samples)
    ]
    tokens, verdicts = [row["tokens"] for row in rows], [row["verdict"] for row in rows]
    accuracy, mean = sum(verdicts) / len(rows), sum(tokens) / len(rows)
    figures = {
        "model": model,
        "decoding": "sampled",
        "samples": samples,
        "prompts": 30,
        "split": "test",
        "task": "quiz",
        "accuracy": accuracy,
        "accuracy_ci95": [accuracy - 0.1, accuracy + 0.1],
        "tokens_mean": mean,
        "tokens_mean_ci95": [mean - 4, mean + 4],
        "tokens_p95": float(longest),
        "tokens_correct": mean,
        "tokens_wrong": None,
        "truncated_share": 0.0,
        "by_difficulty": {"easy": {"prompts": 20, "accuracy": accuracy, "tokens_mean": mean}},
        "completions": "completions.parquet",
        "fingerprint": {"hash": "a", "decoding": {"samples": samples}},
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "completions.parquet")
    (folder / "eval.json").write_text(json.dumps({"models": [figures], "pairs": []}))
    return folder


def trained(folder, alpha):
    """What a run's folder says of its training."""
    (folder / "recipe.yaml").write_text(
        json.dumps({"reward": {"name": "efficient", "alpha": alpha}, "seed": 0})
    )
    lines = [{"step": step, "accuracy": 0.5, "tokens_mean": 90.0 - step} for step in range(1, 20)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


REACH = {
    "train_max": 8,
    "reach_90": 8.0,
    "reach_90_ci95": [6.0, 9.0],
    "reach_50": 12.0,
    "reach_50_ci95": [10.0, None],
}


def test_the_page_shows_how_far_models_reach(tmp_path):
    """Two of three evaluations have it; the third one's model has no panel."""
    folders = [evaluation(tmp_path / name, name, 0.5, 30) for name in ("base", "run", "other")]
    for folder, change in zip(folders, ({}, {"reach_90": 6.0}), strict=False):
        content = json.loads((folder / "eval.json").read_text())
        grades = {n: {"prompts": 9, "accuracy": 1 / int(n), "tokens_mean": 9.0} for n in ("12", "4", "8")}
        grades["x"] = grades["4"]
        content["models"][0] |= {"reach": REACH | change, "by_difficulty": grades}
        (folder / "eval.json").write_text(json.dumps(content))
    found = Compared(sources.read(folders))
    figure = found.figures()["reach"]
    by_name = {trace["name"]: trace for trace in figure["data"]}
    assert (by_name["run"]["x"], by_name["run"]["y"]) == ([4, 8, 12], [1 / 4, 1 / 8, 1 / 12])
    point = by_name["run, 90% solved"]
    assert (point["x"], point["y"]) == ([6.0], [0.9])
    assert (point["error_x"]["array"], point["error_x"]["arrayminus"]) == ([3.0], [0.0])
    assert by_name["base, 50% solved"]["error_x"]["array"] == [0], "an open end has no bar"
    assert by_name["longest that was trained"]["x"] == [8, 8] and "other" not in by_name
    path = report.write(found, tmp_path / "report.html")
    assert 'id="reach"' in path.read_text() and "reach" not in Compared(sources.read(folders[2:])).figures()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    folders = [evaluation(root / "base", "base", 0.4, 90)]
    for name, right, longest, alpha in (("short", 0.5, 30, 0.2), ("right", 0.9, 70, 0.05)):
        folders.append(evaluation(root / name, name, right, longest))
        trained(folders[-1], alpha)
    return Compared(sources.read(folders))


@pytest.fixture(params=["light", "dark"])
def page(request, browser, compared, tmp_path):
    path = report.write(compared, tmp_path / "report.html")
    with opened(browser, path, request.param, "Runs compared") as page:
        yield page


def column(page, number):
    return page.locator(f"table >> nth=0 >> tbody tr > :nth-child({number})").all_inner_texts()


def test_every_plot_is_drawn_in_the_colours_of_the_theme(page):
    for name in ("front", "budgets", "lengths", "curves", "effects"):
        assert page.locator(f"#{name} .main-svg path").count() > 3, name
        assert page.locator(f"#{name}").bounding_box()["height"] > 200
    fill = "document.querySelector('#front .xtick text').style.fill"
    before = page.evaluate(fill)
    assert before == page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("button", name="light or dark").click()
    assert page.evaluate(fill) == page.evaluate("getComputedStyle(document.body).color") != before


def test_a_click_or_a_key_sorts_the_table(page):
    assert [name.split()[0] for name in column(page, 1)] == ["base", "right", "short"]
    page.get_by_role("button", name="accuracy", exact=True).click()
    assert column(page, 1)[0].startswith("right")
    page.get_by_role("button", name="tokens", exact=True).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert column(page, 1)[0].startswith("short")
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("tokens")
    page.get_by_role("button", name="accuracy diff.").click()
    assert column(page, 1)[-1].startswith("base")  # it has no difference to itself


def test_the_reader_shows_two_models_answers_and_filters_them(page):
    everything = page.locator("#answers-list details").count()
    assert everything == 30
    page.get_by_role("combobox", name="difficulty").select_option("hard")
    assert page.locator("#answers-list details").count() == 10
    page.locator("#reader-verdict").select_option("wrong to right")
    some = page.locator("#answers-list details").all_inner_texts()
    assert 0 < len(some) < 10 and all("wrong → right" in text for text in some)
    page.locator("#answers-list summary").first.press("Enter")
    assert "</script>" in page.locator("#answers-list pre").first.inner_text()
    sides = page.locator("#answers-list details").first.locator(".answer:not([hidden]) b")
    assert [text.split(":")[0] for text in sides.all_text_contents()] == ["base", "short"]
    page.locator("#reader-before").select_option("right")
    assert [text.split(":")[0] for text in sides.all_text_contents()] == ["right", "short"]
    assert "of the 30 problems" in page.locator("#reader-count").inner_text()


def test_other_conditions_are_named(tmp_path):
    folders = [evaluation(tmp_path / "a", "a", 0.4, 90), evaluation(tmp_path / "b", "b", 0.5, 90, samples=4)]
    found = Compared(sources.read(folders))
    assert found.warnings == ["b (sampled) was not measured like a: samples a problem: 4 instead of 2"]
