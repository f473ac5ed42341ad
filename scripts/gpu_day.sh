#!/usr/bin/env bash
# What one machine with a GPU can show in 25 minutes, and in an hour more, with this checkout alone:
#     bash scripts/gpu_day.sh                          # all parts, into outputs/gpu_day
#     PARTS="check tests" bash scripts/gpu_day.sh      # these only; they are in the order of use
#     OUT=/data/day TESTS_MINUTES=20 bash scripts/gpu_day.sh
# A part that ends well is not run again by the same command; one that runs out of its minutes is stopped and the next
# begins. OUT/PART.log has all it said, OUT/summary.txt a line each. Exit code 1: a part failed.
# Nothing is installed: an environment with lenrl and a CUDA build of torch comes first (docs/gpus.md); PYTHON names it.
# REHEARSE=1 tries this file without a GPU, in small.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python}" out="${OUT:-outputs/gpu_day}"
export REHEARSE="${REHEARSE:-}" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$out" && out="$(cd "$out" && pwd)"
launch=single_gpu few="" # words
if [ -n "$REHEARSE" ]; then launch=cpu few="trainer.max_steps=2 task.test=16 task.dev=8"; fi

check() { # which machine, which packages, and whether torch reaches the GPU in bfloat16
    nvidia-smi || [ -n "$REHEARSE" ] || return 1
    "$python" -m pip list 2>/dev/null | grep -iE '^(lenrl|torch|trl|transformers|accelerate|deepspeed|vllm|flash)'
    "$python" - <<'PY' || return 1
import os, torch
device = "cuda" if torch.cuda.is_available() else "cpu"
assert device == "cuda" or os.environ["REHEARSE"], "torch finds no GPU: is this build of it for CUDA?"
a = torch.ones(256, 256, dtype=torch.bfloat16, device=device)
assert (a @ a).float().mean().item() == 256
print(f"torch {torch.__version__} computes in bfloat16 on {torch.cuda.get_device_name() if device == 'cuda' else device}")
PY
    "$python" -m lenrl.cli check drpo "launch=$launch"
}

tests() { # bf16, attention, launches, lean update, exact resume, vLLM where it is installed
    "$python" -m pytest -q -m gpu tests/gpu tests/vllm --durations=0 -rs
}

bench() { # seconds of a step against stock TRL
    local cases=late,early,uniform rounds=3
    if [ -n "$REHEARSE" ]; then cases=uniform rounds=1; fi
    "$python" scripts/bench.py --cases "$cases" --rounds "$rounds" --trained "$out/demo" --json "$out/bench.json"
}

train() { # a whole run of each core method, with its figures and report
    local method
    for method in demo drpo grpo_lambda; do
        "$python" -m lenrl.cli train "$method" "launch=$launch" "output_dir=$out/$method" $few || return 1
    done
    "$python" -m lenrl.cli compare "$out/demo" "$out/drpo" "$out/grpo_lambda" --out "$out/compare.html"
}

study() { # a reasoner of ten times the parameters of the study on CPUs, and what RL makes of it; in OUT/outputs
    local scripts="$PWD/scripts" size="--width 384 --layers 6" methods="grpo drpo efficient"
    if [ -n "$REHEARSE" ]; then size="--width 64 --layers 2 --updates 2" methods=grpo few="trainer.max_steps=4"; fi
    cd "$out" || return 1
    "$python" "$scripts/make_reasoner.py" $size &&
        "$python" "$scripts/atlas.py" --testbed reasoner --methods $methods --seeds 0 --set "launch=$launch" $few
}

part() { # NAME MINUTES
    local name="$1" minutes="$2" began=$SECONDS code
    local given="${name^^}_MINUTES"
    minutes="${!given:-$minutes}"
    case " ${PARTS:-$name} " in *" $name "*) ;; *) return ;; esac
    if [ -e "$out/$name.done" ]; then
        say "$name: done before"
        return
    fi
    echo "== $name, at most $minutes minutes; $out/$name.log" >&2
    timeout --kill-after=30 "${minutes}m" bash -c "$(declare -f "$name"); $name" >"$out/$name.log" 2>&1 </dev/null
    code=$?
    tail -n 15 "$out/$name.log" >&2
    case $code in
    0) touch "$out/$name.done" && say "$name: passed in $((SECONDS - began)) s" ;;
    124 | 137) say "$name: stopped after its $minutes minutes" && failed=1 ;;
    *) say "$name: FAILED with exit code $code after $((SECONDS - began)) s" && failed=1 ;;
    esac
}

say() {
    echo "$1" | tee -a "$out/summary.txt" >&2
}

failed=0
export python out launch few
say "$(date -u +%FT%TZ) $(git rev-parse --short HEAD 2>/dev/null) parts: ${PARTS:-all}"
part check 2
part tests 10
part bench 5
part train 8
part study 60 # no part of the 25 minutes
exit "$failed"
