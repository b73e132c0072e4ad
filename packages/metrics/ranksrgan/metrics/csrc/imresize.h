// What every kernel of imresize checks first; the Python face has said it to the user before.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/aminmax.h>

#include <cstdint>
#include <tuple>

namespace ranksrgan {
namespace {

// The taps of one axis of `length`.
void check_taps(const at::Tensor& indices, const at::Tensor& weights, int64_t length,
                const char* axis) {
  TORCH_CHECK_TYPE(indices.scalar_type() == at::kLong && weights.scalar_type() == at::kDouble,
                   "imresize: int64 indices and float64 weights of ", axis, " expected, got ",
                   indices.scalar_type(), " and ", weights.scalar_type());
  TORCH_CHECK_VALUE(indices.is_cpu() && weights.is_cpu(), "imresize: indices and weights of ", axis,
                    " on the CPU expected, got ", indices.device(), " and ", weights.device());
  TORCH_CHECK_VALUE(indices.dim() == 2 && indices.numel() > 0 && weights.sizes() == indices.sizes(),
                    "imresize: indices and weights of ", axis,
                    " of one shape (T, size) expected, got ", indices.sizes(), " and ",
                    weights.sizes());
  const auto [low, high] = at::aminmax(indices);
  TORCH_CHECK_INDEX(low.item<int64_t>() >= 0 && high.item<int64_t>() < length,
                    "imresize: indices of ", axis, " from 0 to ", length - 1, " expected, got ",
                    low.item<int64_t>(), " to ", high.item<int64_t>());
}

void check_imresize(const at::Tensor& images, const at::Tensor& row_indices,
                    const at::Tensor& row_weights, const at::Tensor& column_indices,
                    const at::Tensor& column_weights) {
  const at::ScalarType type = images.scalar_type();
  TORCH_CHECK_TYPE(type == at::kByte || type == at::kFloat || type == at::kDouble,
                   "imresize: uint8, float32 or float64 images expected, got ", type);
  TORCH_CHECK_VALUE(images.dim() == 3 && images.size(1) > 0 && images.size(2) > 0,
                    "imresize: images of shape (N, H, W) with H, W >= 1 expected, got ",
                    images.sizes());
  TORCH_CHECK_VALUE(images.size(1) <= INT32_MAX && images.size(2) <= INT32_MAX,
                    "imresize: sides below 2^31 expected, got ", images.sizes());
  check_taps(row_indices, row_weights, images.size(1), "rows");
  check_taps(column_indices, column_weights, images.size(2), "columns");
}

}  // namespace
}  // namespace ranksrgan
