#!/usr/bin/env bash
# Compiles the CUDA sources, warnings as errors, for a check, and looks whether the host files find
# every kernel that they call; neither a GPU nor a CUDA build of torch is needed. Usage: csrc/check_cuda.sh [PYTHON], a Python that has torch (default: python3).
set -euo pipefail
python=${1:-python3}
includes=$("$python" -c 'import torch.utils.cpp_extension as c; print("\n".join(c.include_paths()))' 2>/dev/null) || includes=
cd "$(dirname "$0")"

if ! nvcc=$(command -v nvcc); then
  echo "nvcc not found: not checked"
  exit 0
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for source in cuda/*.cu; do
  for architecture in sm_80 sm_90 compute_90; do
    "$nvcc" -c -std=c++17 -O3 --fmad=false -arch="$architecture" -Werror all-warnings \
      -Xcompiler -Wall,-Wextra,-Werror "$source" -o "$scratch/$(basename "$source").o"
    echo "$source: $architecture ok"
  done
done

# The host files need torch's headers. A CPU build lacks one that cmake generates; an empty one
# stands in for it.
if [ -z "$includes" ]; then
  echo "$python has no torch: cuda/*_host.cpp not checked"
  exit 0
fi
mkdir -p "$scratch/include/c10/cuda/impl"
touch "$scratch/include/c10/cuda/impl/cuda_cmake_macros.h"
toolkit=$("$nvcc" --dryrun -c -o /dev/null -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
flags=()
while read -r folder; do flags+=(-isystem "$folder"); done <<<"$includes"
for source in cuda/*_host.cpp; do
  "${CXX:-c++}" -c -std=c++20 -Wall -Wextra -Werror "${flags[@]}" \
    -isystem "$scratch/include" -isystem "$toolkit/include" "$source" \
    -o "$scratch/$(basename "$source").o"
  echo "$source: host ok"
done

# A library with a symbol that nobody defines is linked without a word and cannot be loaded.
nm -C --undefined-only "$scratch"/*.o | sed -n 's/^ *U //p' | grep -F 'ranksrgan::' | sort -u \
  >"$scratch/called" || true
nm -C --defined-only "$scratch"/*.o | sed -n 's/^[0-9a-f]* [TWVB] //p' | sort -u >"$scratch/defined"
if missing=$(comm -23 "$scratch/called" "$scratch/defined") && [ -n "$missing" ]; then
  echo "error: called by cuda/*_host.cpp and defined nowhere:" >&2
  echo "$missing" >&2
  exit 1
fi
echo "every kernel that is called is there"
