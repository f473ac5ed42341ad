"""Progress where there is no terminal: a line a step, but not more often than every few seconds, with the time left."""

from types import SimpleNamespace

from lenrl.monitors.progress_bar import ProgressBar


def test_a_line_a_step_with_the_time_that_is_left(monkeypatch, caplog):
    caplog.set_level("INFO")
    now = [100.0]
    monkeypatch.setattr("lenrl.monitors.progress_bar.time", SimpleNamespace(monotonic=lambda: now[0]))
    progress, state = (
        ProgressBar(),
        SimpleNamespace(global_step=10, max_steps=100, is_world_process_zero=True),
    )
    progress.on_train_begin(None, state, None)
    for step, seconds in ((11, 10), (12, 10), (13, 1), (14, 9), (15, 10)):
        now[0] += seconds
        state.global_step = step
        progress.on_log(None, state, None, {"grad_norm": 1.0, "accuracy": 0.5, "tokens_mean": 123.4})
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in said] == [
        "step 11 of 100", "step 12 of 100", "step 14 of 100", "step 15 of 100",
    ]  # fmt: skip
    assert said[0] == "step 11 of 100: acc 0.5, tokens 123; 10 s a step, 14:50 left"
    assert said[-1].endswith("8 s a step, 11:20 left")
    progress.on_log(
        None, SimpleNamespace(**{**vars(state), "is_world_process_zero": False}), None, {"grad_norm": 1}
    )
    assert len(caplog.records) == 4
    state.global_step, now[0] = 16, now[0] + 10
    progress.on_log(None, state, None, {"grad_norm": 1.0, "accuracy": 0.51234, "tokens_mean": 12345.6})
    assert ": acc 0.512, tokens 12346; " in caplog.records[-1].getMessage()
