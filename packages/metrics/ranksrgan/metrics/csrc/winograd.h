// What the kernel of winograd checks first; the Python face has transformed the weights before.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "map.h"

namespace ranksrgan {

// A convolution, what follows it, and where it comes from and goes to.
struct Convolution {
  Map x, out;
  const char* weight;
  bool half;  // whether the weights are bfloat16, or else float32
  const float* bias;
  std::optional<Map> residual;
  int64_t blocks, outputs, shuffle;  // outputs of a block
  float factor, slope;
};

void winograd_bfloat16(const Convolution& work);
void winograd_float32(const Convolution& work);

namespace {

Convolution check_winograd(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           const at::Tensor& out, const std::optional<at::Tensor>& residual,
                           double factor, double slope, int64_t shuffle) {
  const bool half = weight.scalar_type() == at::kBFloat16;
  Convolution work{check_map("winograd: x", x),
                   check_map("winograd: out", out),
                   nullptr,
                   half,
                   nullptr,
                   std::nullopt,
                   0,
                   0,
                   shuffle,
                   static_cast<float>(factor),
                   static_cast<float>(slope)};
  const int64_t channels = work.x.channels;
  TORCH_CHECK_VALUE(channels % 32 == 0, "winograd: a multiple of 32 channels expected, got ",
                    channels);
  TORCH_CHECK_VALUE(half || weight.scalar_type() == at::kFloat,
                    "winograd: weights of bfloat16 or float32 expected, got ",
                    weight.scalar_type());
  const int64_t together = half ? 2 : 1;  // channels whose weights lie side by side
  TORCH_CHECK_VALUE(
      weight.is_contiguous() && weight.dim() == 5 && weight.size(1) == 16 &&
          weight.size(2) == channels / together && weight.size(4) == together &&
          (weight.size(3) == 32 || (half && weight.size(3) == 64)),
      "winograd: weights (blocks, 16, ", channels / together, half ? ", 32 or 64, " : ", 32, ",
      together, ") expected, got ", weight.sizes());
  TORCH_CHECK_VALUE(half || !(work.x.half || work.out.half),
                    "winograd: with weights of float32, maps of float32 expected, got ",
                    x.scalar_type(), " and ", out.scalar_type());
  const int64_t outputs = weight.size(0) * weight.size(3);
  TORCH_CHECK_VALUE(bias.scalar_type() == at::kFloat && bias.is_contiguous() &&
                        bias.numel() == outputs,
                    "winograd: a float32 bias of each of ", outputs, " outputs expected, got ",
                    bias.sizes());
  TORCH_CHECK_VALUE(shuffle >= 1 && work.out.channels * shuffle * shuffle == outputs &&
                        work.out.channels % weight.size(3) == 0 &&
                        work.out.height == shuffle * work.x.height &&
                        work.out.width == shuffle * work.x.width,
                    "winograd: out has the shape ", out.sizes(), ", which is not that of ",
                    outputs, " outputs of ", x.sizes(), " shuffled by ", shuffle);
  TORCH_CHECK_VALUE(slope >= 0 && slope <= 1, "winograd: a slope from 0 to 1 expected, got ",
                    slope);
  if (residual) {
    work.residual = check_map("winograd: residual", *residual);
    TORCH_CHECK_VALUE(shuffle == 1 && residual->sizes() == out.sizes() && !work.residual->half &&
                          !work.out.half,
                      "winograd: a residual and out of float32, of one shape, and no shuffle "
                      "expected, got ",
                      residual->sizes(), ", ", out.sizes(), " and ", shuffle);
  }
  work.out.data = static_cast<char*>(out.mutable_data_ptr());
  work.weight = static_cast<const char*>(weight.const_data_ptr());
  work.bias = bias.const_data_ptr<float>();
  work.blocks = weight.size(0);
  work.outputs = weight.size(3);
  return work;
}

}  // namespace
}  // namespace ranksrgan
