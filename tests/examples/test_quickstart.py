"""The notebook, executed as a reader would, in a folder of its own."""

import ast

import nbformat
from nbclient import NotebookClient

from tests.examples.outside import EXAMPLES, ROOT


def test_it_runs_from_top_to_bottom_and_is_committed_without_outputs(tmp_path, monkeypatch):
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    results = [
        out.data["text/plain"] for cell in code for out in cell.outputs if out.output_type == "execute_result"
    ]
    checked, scored, compared = results
    assert "'prompts_per_rollout'" in checked
    short, long, wrong = ast.literal_eval(scored)
    assert short[1] > long[1] > wrong[1] and short[2] > long[2] > wrong[2]
    assert "tokens_mean" in compared and "nan" not in compared.lower()
