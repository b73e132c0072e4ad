// What the convolutions of bfloat16 share: registers of AVX-512.
#pragma once

#include <c10/util/Exception.h>
#include <immintrin.h>

#include <cstdint>

// Compiled for processors that have it, whatever the rest of the library is compiled for.
#define RANKSRGAN_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define RANKSRGAN_BF16_INLINE RANKSRGAN_BF16 __attribute__((always_inline)) inline

namespace ranksrgan::avx512 {
namespace {

constexpr int kLanes = 16;  // of float32 in a register

template <bool half>
RANKSRGAN_BF16_INLINE __m512 load(const char* from) {
  if constexpr (half) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  } else {
    return _mm512_loadu_ps(reinterpret_cast<const float*>(from));
  }
}

bool is_able() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
}

void check_processor(const char* name) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      is_able(), name,
      ": a processor with AVX-512 and its bfloat16 expected, and this one has not");
}

}  // namespace
}  // namespace ranksrgan::avx512
