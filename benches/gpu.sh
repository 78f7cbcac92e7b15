#!/usr/bin/env bash
# All that only a GPU can settle, in one go: the shader tests on it, its kernels against what it can do, and training steps and
# memory next to PyTorch's (eager and torch.compile, CUDA) on the same card. Prints a table each; keeps the kernels' as JSON.
#   pip install 'torch<2.6' 'numpy<2' && benches/gpu.sh PATH/ml-1m [OUT]
set -euo pipefail
data=$(realpath "${1:?usage: benches/gpu.sh PATH/ml-1m [OUT]}")
ls "$data"/ratings.dat* > /dev/null
out=$(realpath -m "${2:-runs/gpu}")
mkdir -p "$out"
cd "$(dirname "$0")/.."
cargo build --release --quiet
wgrec=target/release/wgrec
"$wgrec" devices
cargo test --release --test kernels -- --quiet
"$wgrec" bench kernels --device gpu --large --json "$out/kernels.json"
cargo bench --bench filter -- 64 gpu
python3 benches/peers/kernels.py --device gpu --size large --compile
"$wgrec" bench eval sasrec --device gpu --data "$data" --set data.max_len=50
python3 benches/peers/steps.py --data "$data" --device gpu --compile --steps 100
