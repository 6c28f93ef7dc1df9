#!/bin/sh
# Everything that is measured on an NVIDIA GPU: the tests, `stepfn bench` in three element types through CUDA and in one through Vulkan, and,
# where STEPFN_PYTHON names an interpreter with inseq and PyTorch, both beside it. Some ten minutes after the build.
#
#   STEPFN_PYTHON=.venv/bin/python benches/gpu.sh [FOLDER]
#
# What it finds lies in FOLDER, target/gpu unless told.
set -eu
cd "$(dirname "$0")/.."
out=${1:-target/gpu}
mkdir -p "$out"

cargo build --release --locked -p stepfn-cli --features cuda,wgpu
bench() { target/release/stepfn bench --shape gpt2-small,smollm2-135m --length 32,512 --batch 1,8 --seconds 2 --format json "$@"; }
for dtype in f32 f16 bf16; do
    bench --backend cuda --dtype "$dtype" -o "$out/cuda-$dtype.json"
done
bench --backend wgpu -o "$out/wgpu-f32.json"
target/release/stepfn bench --compare "$out"/cuda-f32.json "$out"/cuda-f16.json "$out"/cuda-bf16.json "$out"/wgpu-f32.json | tee "$out/compare.txt"

STEPFN_REQUIRE_DEVICES=cuda,wgpu cargo test --locked -p stepfn-wgpu -p stepfn-cuda -p stepfn-tests \
    --features stepfn-tests/wgpu,stepfn-tests/cuda --lib --test wgpu --test cuda -- --nocapture 2>&1 | tee "$out/tests.txt"

if [ -n "${STEPFN_PYTHON:-}" ]; then
    export STEPFN_DEVICE=cuda
    cargo bench --locked -p stepfn-benches --features cuda --bench attribution -- gpt2-small:13+64 \
        --only=forward,step_scores,saliency,mc_dropout_prob_avg | tee "$out/attribution.md"
    cargo bench --locked -p stepfn-benches --features cuda --bench forward -- --quick gpt2-small | tee "$out/forward.md"
fi
