// What the kernels of convolve_to_rgb share, and what is checked first; the Python face has
// arranged the weights before.
#pragma once

#include <ATen/core/Tensor.h>

#include "map.h"

namespace ranksrgan {

// Products of a pixel: those of tap t and colour c are at 3 t + c, and the last five are zero.
constexpr int64_t kRgbProducts = 32;

// What the pixels of a row give to each of their neighbours:
// products (width, 32) = row y of x (width, channels) weight (channels, 32).
using RgbRow = void(const Map& x, int64_t y, const float* weight, float* products);

// The one for maps such as x; null if this processor has not what it takes.
RgbRow* rgb_row_avx512(const Map& x);
RgbRow* rgb_row_avx2(const Map& x);

namespace {

Map check_convolve_to_rgb(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const Map map = check_map("convolve_to_rgb: x", x);
  TORCH_CHECK_VALUE(map.channels % 16 == 0,  // which the kernel reads at once
                    "convolve_to_rgb: x: a multiple of 16 channels expected, got ", map.channels);
  TORCH_CHECK_VALUE(weight.scalar_type() == at::kFloat && weight.is_contiguous() &&
                        weight.dim() == 2 && weight.size(0) == map.channels &&
                        weight.size(1) == kRgbProducts,
                    "convolve_to_rgb: float32 weights (", map.channels, ", ", kRgbProducts,
                    ") expected, got ", weight.sizes());
  TORCH_CHECK_VALUE(bias.scalar_type() == at::kFloat && bias.is_contiguous() && bias.numel() == 3,
                    "convolve_to_rgb: a float32 bias of each of 3 outputs expected, got ",
                    bias.sizes());
  return map;
}

}  // namespace
}  // namespace ranksrgan
