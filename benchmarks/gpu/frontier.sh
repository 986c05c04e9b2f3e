#!/usr/bin/env bash
# The frontier of the proxy suite on one GPU: both networks, five seeds, in four studies side by side.
#   benchmarks/gpu/frontier.sh FOLDER_OF_PROXY32 OUT
# Repeat it until all four are done, then join them:
#   python benchmarks/frontier_merge.py OUT/*/frontier.json --into benchmarks/proxy32
# Small networks leave a GPU idle between kernels. With NVIDIA's MPS running
# (nvidia-cuda-mps-control -d) the kernels of several processes overlap.
set -euo pipefail
data=$(realpath "${1:?give the folder of the proxy suite}")
out=$(realpath -m "${2:?give a folder for the runs}")
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1
study() {
    local name=$1
    shift
    python -m decoct frontier benchmarks/proxy32/proxy32.yaml --data "$data" --out "$out/$name" \
        --probe.fractions 0.05 0.2 0.5 --frontier.lr-factors 1 2 --frontier.seeds 5 --jobs 4 "$@" \
        > "$out/$name.log" 2>&1 &
    running+=($!)
}
mkdir -p "$out"
running=()
ends=(--frontier.methods full random --frontier.steps 120 --frontier.bytes)
places=(--frontier.methods none assistant random carried full-steps --frontier.optimisers muon
    --frontier.batches 252 --frontier.bytes 0.3MB 1.2MB --frontier.at-steps 120 480 1920)
resnet=(--pretrain.network.name resnet10 --pretrain.network.width 16)
study ends-convnet "${ends[@]}"
study ends-resnet "${ends[@]}" "${resnet[@]}"
study places-convnet "${places[@]}" --frontier.steps 60 120 240 480 960 1920
study places-resnet "${places[@]}" --frontier.steps 120 480 1920 "${resnet[@]}"
for process in "${running[@]}"; do wait "$process"; done # its status, if one fails
