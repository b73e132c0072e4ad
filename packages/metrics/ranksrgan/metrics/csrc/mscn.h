// What every kernel of mscn checks first; the Python face has said it to the user before.
#pragma once

#include <ATen/core/Tensor.h>

namespace ranksrgan {
namespace {

void check_planes(const at::Tensor& planes) {
  TORCH_CHECK_TYPE(planes.scalar_type() == at::kFloat || planes.scalar_type() == at::kDouble,
                   "mscn: float32 or float64 planes expected, got ", planes.scalar_type());
  TORCH_CHECK_VALUE(planes.dim() == 3 && planes.size(1) > 0 && planes.size(2) > 0,
                    "mscn: planes of shape (N, H, W) with H, W >= 1 expected, got ",
                    planes.sizes());
}

}  // namespace
}  // namespace ranksrgan
