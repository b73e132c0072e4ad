#ifdef __x86_64__  // elsewhere there is no kernel

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "../convolve_to_rgb.h"

namespace ranksrgan::convolve_to_rgb {
namespace {

constexpr int kColours = 3;
constexpr int64_t kGrain = 32;  // rows of a thread at least: two more are computed for them

// Each pixel takes from its neighbours. rows: the products above, beside and below; null beyond
// the image. out: the first pixel of a row in the first of three planes.
void take_row(const float* const rows[3], int64_t width, const float* bias, float* out,
              int64_t plane) {
  for (int64_t x = 0; x < width; ++x) {
    float sum[kColours] = {bias[0], bias[1], bias[2]};
    for (int i = 0; i < 3; ++i) {
      if (rows[i] == nullptr) continue;
      for (int64_t j = std::max<int64_t>(1 - x, 0); j < std::min<int64_t>(width - x + 1, 3); ++j) {
        const float* from = rows[i] + (x + j - 1) * kRgbProducts + kColours * (3 * i + j);
        for (int c = 0; c < kColours; ++c) sum[c] += from[c];
      }
    }
    for (int c = 0; c < kColours; ++c) out[c * plane + x] = sum[c];
  }
}

at::Tensor convolve_to_rgb_cpu(const at::Tensor& x, const at::Tensor& weight,
                               const at::Tensor& bias) {
  const Map map = check_convolve_to_rgb(x, weight, bias);
  RgbRow* give_row = rgb_row_avx512(map);
  if (give_row == nullptr) give_row = rgb_row_avx2(map);
  TORCH_CHECK_NOT_IMPLEMENTED(give_row != nullptr,
                              "convolve_to_rgb: a processor with ",
                              map.half ? "AVX-512 and its bfloat16" : "AVX2 and FMA",
                              " expected, and this one has not");
  at::Tensor out =
      at::empty({1, kColours, map.height, map.width}, x.options().dtype(at::kFloat),
                at::MemoryFormat::Contiguous);
  const float *weights = weight.const_data_ptr<float>(), *biases = bias.const_data_ptr<float>();
  float* to = out.data_ptr<float>();
  const int64_t row_size = map.width * kRgbProducts;
  at::parallel_for(0, map.height, kGrain, [&](int64_t begin, int64_t end) {
    const at::Tensor three = at::empty({3, row_size}, out.options());
    float* ring = three.data_ptr<float>();
    const auto products = [&](int64_t y) -> float* {
      return y < 0 || y >= map.height ? nullptr : ring + (y + 3) % 3 * row_size;
    };
    const auto fill = [&](int64_t y) {
      if (float* row = products(y)) give_row(map, y, weights, row);
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
}  // namespace ranksrgan::convolve_to_rgb

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) {
  m.impl("convolve_to_rgb", ranksrgan::convolve_to_rgb::convolve_to_rgb_cpu);
}

#endif
