// What the kernel of convolve_to_rgb checks first; the Python face has arranged the weights before.
#pragma once

#include <ATen/core/Tensor.h>

#include "map.h"

namespace ranksrgan {
namespace {

Map check_convolve_to_rgb(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const Map map = check_map("convolve_to_rgb: x", x);
  TORCH_CHECK_VALUE(map.channels % 16 == 0,  // which the kernel reads at once
                    "convolve_to_rgb: x: a multiple of 16 channels expected, got ", map.channels);
  TORCH_CHECK_VALUE(weight.scalar_type() == at::kFloat && weight.is_contiguous() &&
                        weight.dim() == 2 && weight.size(0) == map.channels &&
                        weight.size(1) == 32,
                    "convolve_to_rgb: float32 weights (", map.channels, ", 32) expected, got ",
                    weight.sizes());
  TORCH_CHECK_VALUE(bias.scalar_type() == at::kFloat && bias.is_contiguous() && bias.numel() == 3,
                    "convolve_to_rgb: a float32 bias of each of 3 outputs expected, got ",
                    bias.sizes());
  return map;
}

}  // namespace
}  // namespace ranksrgan
