// What every kernel of ma_dct checks and allocates first; the Python face has said it to the user
// before.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "ma_dct_window.h"

namespace ranksrgan {
namespace {

void check_ma_dct(const at::Tensor& planes) {
  TORCH_CHECK_TYPE(planes.scalar_type() == at::kDouble, "ma_dct: float64 planes expected, got ",
                   planes.scalar_type());
  TORCH_CHECK_VALUE(planes.dim() == 3 && planes.size(1) > 0 && planes.size(2) > 0,
                    "ma_dct: planes of shape (N, H, W) with H, W >= 1 expected, got ",
                    planes.sizes());
}

// One number for each window of each plane.
at::Tensor empty_statistic(const at::Tensor& planes) {
  const int64_t rows = ma::windows_along(planes.size(1));
  return at::empty({planes.size(0), rows, ma::windows_along(planes.size(2))}, planes.options());
}

}  // namespace
}  // namespace ranksrgan
