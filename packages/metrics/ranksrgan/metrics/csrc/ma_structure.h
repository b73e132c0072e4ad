// What every kernel of ma_structure checks first; the Python face has said it to the user before.
#pragma once

#include <ATen/core/Tensor.h>

namespace ranksrgan {
namespace {

constexpr int64_t kStructureWindow = 11;

// Half of the normalised 11-tap Gaussian of sigma 1.5, from the outermost tap to the centre.
constexpr double kStructureTaps[kStructureWindow / 2 + 1] = {
    0.00102838008447911, 0.007598758135239185, 0.03600077212843083,
    0.10936068950970002, 0.2130055377112537,   0.26601172486179436};

constexpr double kC2 = (0.03 * 255) * (0.03 * 255);

void check_ma_structure(at::TensorList planes, at::IntArrayRef first, at::IntArrayRef second) {
  TORCH_CHECK_VALUE(!planes.empty(), "ma_structure: one plane or more expected, got none");
  for (const at::Tensor& plane : planes) {
    TORCH_CHECK_TYPE(plane.scalar_type() == at::kDouble,
                     "ma_structure: float64 planes expected, got ", plane.scalar_type());
    TORCH_CHECK_VALUE(plane.dim() == 2 && plane.size(0) >= kStructureWindow &&
                          plane.size(1) >= kStructureWindow && plane.sizes() == planes[0].sizes(),
                      "ma_structure: planes of one shape (H, W) with H, W >= ", kStructureWindow,
                      " expected, got ", plane.sizes());
  }
  TORCH_CHECK_VALUE(first.size() == second.size(),
                    "ma_structure: as many first as second indices expected, got ", first.size(),
                    " and ", second.size());
  const int64_t count = static_cast<int64_t>(planes.size());
  for (const at::IntArrayRef indices : {first, second}) {
    for (const int64_t index : indices) {
      TORCH_CHECK_INDEX(index >= 0 && index < count, "ma_structure: indices from 0 to ", count - 1,
                        " expected, got ", index);
    }
  }
}

}  // namespace
}  // namespace ranksrgan
