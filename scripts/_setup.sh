# Sourced by the scripts: `setup EXTRAS` makes .venv if there is none and installs lenrl[EXTRAS] into it,
# exactly as constraints.txt says. Nothing is done twice: .venv/.lenrl-EXTRAS holds a hash of what was installed.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv="$PWD/.venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

_python() { # a Python of at least 3.11
    local name
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$name" ] && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    echo "lenrl needs Python 3.11 or newer; name one: PYTHON=/path/to/python3 bash $0" >&2
    return 1
}

setup() {
    local extras="$1" stamp hash python
    if [ ! -x "$venv/bin/python" ]; then
        python="$(_python)"
        echo "== making .venv with $("$python" --version 2>&1)" >&2
        "$python" -m venv "$venv"
    fi
    hash="$(cat constraints.txt pyproject.toml | sha256sum | cut -d' ' -f1)"
    stamp="$venv/.lenrl-${extras//,/-}"
    if [ "$(cat "$stamp" 2>/dev/null)" != "$hash" ]; then
        echo "== installing lenrl[$extras] into .venv; the first time takes some minutes" >&2
        "$venv/bin/python" -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[$extras]"
        # pip would use one core; some packages carry files for other versions of Python, and many that are never read
        "$venv/bin/python" -m compileall -q -j 0 -x '/(tests|transformers/models|plotly/(graph_objs|validators))/' \
            "$venv/lib" >/dev/null 2>&1 || true
        echo "$hash" >"$stamp"
    fi
    export PATH="$venv/bin:$PATH"
}
