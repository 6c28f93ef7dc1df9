#!/usr/bin/env bash
# All measurements for an NVIDIA GPU: `stepfn bench` in three element types with CUDA and in one with Vulkan, the tests, and, if STEPFN_PYTHON
# is an interpreter with inseq and PyTorch, comparisons with both. Takes about ten minutes after the build.
#
#   STEPFN_PYTHON=.venv/bin/python benches/gpu.sh
#
# Results are in target/gpu. A failed part does not stop the rest, but sets the exit code.
set -uo pipefail
cd "$(dirname "$0")/.."
out=target/gpu
mkdir -p "$out"
failed=0
try() { "$@" || { echo "FAILED: $*" >&2; failed=1; }; }

try cargo build --release --locked -p stepfn-cli --features cuda,wgpu
bench() {
    try target/release/stepfn bench --shape gpt2-small,smollm2-135m --length 32,512 --batch 1,8 --seconds 2 --format json "$@"
}
for dtype in f32 f16 bf16; do
    bench --backend cuda --dtype "$dtype" -o "$out/cuda-$dtype.json"
done
bench --backend wgpu -o "$out/wgpu-f32.json"
try target/release/stepfn bench --compare "$out"/cuda-f32.json "$out"/cuda-f16.json "$out"/cuda-bf16.json "$out"/wgpu-f32.json \
    -o "$out/compare.txt"

STEPFN_REQUIRE_DEVICES=cuda,wgpu try cargo test --locked -p stepfn-wgpu -p stepfn-cuda -p stepfn-tests \
    --features stepfn-tests/wgpu,stepfn-tests/cuda --lib --test wgpu --test cuda -- --nocapture

if [ -n "${STEPFN_PYTHON:-}" ]; then
    export STEPFN_DEVICE=cuda
    peers() { cargo bench --locked -p stepfn-benches --features cuda "$@" | tee "$out/$2.md"; }
    try peers --bench attribution -- gpt2-small:13+64 --only=forward,step_scores,saliency,mc_dropout_prob_avg
    try peers --bench forward -- --quick gpt2-small
fi
exit "$failed"
