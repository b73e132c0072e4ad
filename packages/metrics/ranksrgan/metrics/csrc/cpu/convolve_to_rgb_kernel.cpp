#ifdef __x86_64__  // elsewhere there is no kernel

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>

#include "../convolve_to_rgb.h"
#include "avx512.h"

namespace ranksrgan {
namespace {

constexpr int kTaps = 9, kColours = 3;
constexpr int kProducts = 32;  // a register pair: kTaps * kColours, and five that are zero
constexpr int kTogether = 12;  // pixels whose products fit into the registers
constexpr int64_t kGrain = 32;  // rows of a thread at least: two more are computed for them

// What pixels give to each of their neighbours: products (pixels, 32) = x (pixels, channels) weight.
template <bool half, int pixels>
RANKSRGAN_BF16 void give(const char* x, int64_t pixel, int64_t channels, const float* weight,
                         float* products) {
  __m512 sums[pixels][2];
  for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
  for (int64_t c = 0; c < channels; c += kLanes) {
    alignas(64) float values[pixels][kLanes];
    for (int p = 0; p < pixels; ++p) {
      _mm512_store_ps(values[p], load<half>(x + (half ? 2 : 4) * (p * pixel + c)));
    }
    for (int k = 0; k < kLanes; ++k) {
      const float* row = weight + (c + k) * kProducts;
      const __m512 first = _mm512_loadu_ps(row), second = _mm512_loadu_ps(row + kLanes);
      for (int p = 0; p < pixels; ++p) {
        const __m512 value = _mm512_set1_ps(values[p][k]);
        sums[p][0] = _mm512_fmadd_ps(value, first, sums[p][0]);
        sums[p][1] = _mm512_fmadd_ps(value, second, sums[p][1]);
      }
    }
  }
  for (int p = 0; p < pixels; ++p) {
    _mm512_storeu_ps(products + p * kProducts, sums[p][0]);
    _mm512_storeu_ps(products + p * kProducts + kLanes, sums[p][1]);
  }
}

template <bool half>
RANKSRGAN_BF16 void give_row(const Map& x, int64_t y, const float* weight, float* products) {
  const char* row = x.data + x.bytes() * y * x.row;
  int64_t column = 0;
  for (; column + kTogether <= x.width; column += kTogether) {
    give<half, kTogether>(row + x.bytes() * column * x.pixel, x.pixel, x.channels, weight,
                          products + column * kProducts);
  }
  for (; column < x.width; ++column) {
    give<half, 1>(row + x.bytes() * column * x.pixel, x.pixel, x.channels, weight,
                  products + column * kProducts);
  }
}

// Each pixel takes from its neighbours. rows: the products above, beside and below; null beyond
// the image. out: the first pixel of a row in the first of three planes.
void take_row(const float* const rows[3], int64_t width, const float* bias, float* out,
              int64_t plane) {
  for (int64_t x = 0; x < width; ++x) {
    float sum[kColours] = {bias[0], bias[1], bias[2]};
    for (int i = 0; i < 3; ++i) {
      if (rows[i] == nullptr) continue;
      for (int64_t j = std::max<int64_t>(1 - x, 0); j < std::min<int64_t>(width - x + 1, 3); ++j) {
        const float* from = rows[i] + (x + j - 1) * kProducts + kColours * (3 * i + j);
        for (int c = 0; c < kColours; ++c) sum[c] += from[c];
      }
    }
    for (int c = 0; c < kColours; ++c) out[c * plane + x] = sum[c];
  }
}

at::Tensor convolve_to_rgb_cpu(const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& bias) {
  const Map map = check_convolve_to_rgb(x, weight, bias);
  check_processor("convolve_to_rgb");
  at::Tensor out =
      at::empty({1, kColours, map.height, map.width}, x.options().dtype(at::kFloat),
                at::MemoryFormat::Contiguous);
  const float *weights = weight.const_data_ptr<float>(), *biases = bias.const_data_ptr<float>();
  float* to = out.data_ptr<float>();
  const int64_t row_size = map.width * kProducts;
  at::parallel_for(0, map.height, kGrain, [&](int64_t begin, int64_t end) {
    const at::Tensor three = at::empty({3, row_size}, out.options());
    float* ring = three.data_ptr<float>();
    const auto products = [&](int64_t y) -> float* {
      return y < 0 || y >= map.height ? nullptr : ring + (y + 3) % 3 * row_size;
    };
    const auto fill = [&](int64_t y) {
      if (float* row = products(y)) {
        map.half ? give_row<true>(map, y, weights, row) : give_row<false>(map, y, weights, row);
      }
    };
    fill(begin - 1);
    fill(begin);
    for (int64_t y = begin; y < end; ++y) {
      fill(y + 1);
      const float* const rows[3] = {products(y - 1), products(y), products(y + 1)};
      take_row(rows, map.width, biases, to + y * map.width, map.height * map.width);
    }
  });
  return out;
}

}  // namespace
}  // namespace ranksrgan

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) {
  m.impl("convolve_to_rgb", ranksrgan::convolve_to_rgb_cpu);
}

#endif
