// What the convolutions in float32 share: products in registers of AVX2.
#pragma once

#include <c10/util/Exception.h>
#include <immintrin.h>

#include <cstdint>

// Compiled for processors that have it, whatever the rest of the library is compiled for.
#define RANKSRGAN_AVX2 __attribute__((target("avx2,fma")))
#define RANKSRGAN_AVX2_INLINE RANKSRGAN_AVX2 __attribute__((always_inline)) inline

namespace ranksrgan::avx2 {
namespace {

constexpr int kLanes = 8;                      // of float32 in a register
constexpr int kRegisters = 4;                  // of outputs
constexpr int kOutputs = kRegisters * kLanes;  // of a block
constexpr int kTogether = 3;                   // rows whose sums fit into the registers

// Loops over registers are unrolled by demand: GCC does so too late to keep an array in registers.
template <int rows>
RANKSRGAN_AVX2 void multiply_rows(const float* v, int64_t step, const float* u, int64_t channels,
                                  float* m) {
  __m256 sums[rows][kRegisters];
#pragma GCC unroll 3
  for (int k = 0; k < rows; ++k) {
#pragma GCC unroll 4
    for (int r = 0; r < kRegisters; ++r) sums[k][r] = _mm256_setzero_ps();
  }
  for (int64_t c = 0; c < channels; ++c, u += kOutputs) {
    __m256 inputs[rows];
#pragma GCC unroll 3
    for (int k = 0; k < rows; ++k) inputs[k] = _mm256_broadcast_ss(v + k * step + c);
#pragma GCC unroll 4
    for (int r = 0; r < kRegisters; ++r) {
      __m256 weights = _mm256_loadu_ps(u + r * kLanes);
      asm("" : "+x"(weights));  // in a register: as operands of the next they are loaded each time
#pragma GCC unroll 3
      for (int k = 0; k < rows; ++k) sums[k][r] = _mm256_fmadd_ps(inputs[k], weights, sums[k][r]);
    }
  }
#pragma GCC unroll 3
  for (int k = 0; k < rows; ++k) {
#pragma GCC unroll 4
    for (int r = 0; r < kRegisters; ++r) {
      _mm256_storeu_ps(m + k * kOutputs + r * kLanes, sums[k][r]);
    }
  }
}

// m (count, outputs) = v (count, channels) u (channels, outputs), the rows of v being `step` apart.
RANKSRGAN_AVX2 void multiply(const float* v, int64_t step, const float* u, int64_t channels,
                             int64_t count, float* m) {
  int64_t k = 0;
  for (; k + kTogether <= count; k += kTogether) {
    multiply_rows<kTogether>(v + k * step, step, u, channels, m + k * kOutputs);
  }
  switch (count - k) {
    case 2: return multiply_rows<2>(v + k * step, step, u, channels, m + k * kOutputs);
    case 1: return multiply_rows<1>(v + k * step, step, u, channels, m + k * kOutputs);
  }
}

bool is_able() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

void check_processor(const char* name) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      is_able(), name, ": a processor with AVX2 and FMA expected, and this one has not");
}

}  // namespace
}  // namespace ranksrgan::avx2
