// What every kernel of ma_normalise checks and allocates first; the Python face has said it to the
// user before.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace ranksrgan {
namespace {

constexpr int64_t kOrientations = 6;

void check_ma_normalise(const at::Tensor& bands, const at::Tensor& parents, int64_t margin) {
  TORCH_CHECK_TYPE(bands.scalar_type() == at::kDouble && parents.scalar_type() == at::kDouble,
                   "ma_normalise: float64 bands and parents expected, got ", bands.scalar_type(),
                   " and ", parents.scalar_type());
  TORCH_CHECK_VALUE(bands.dim() == 3 && bands.size(0) == kOrientations,
                    "ma_normalise: bands of shape (", kOrientations, ", H, W) expected, got ",
                    bands.sizes());
  TORCH_CHECK_VALUE(parents.dim() == 3 && parents.size(0) <= kOrientations &&
                        parents.sizes().slice(1) == bands.sizes().slice(1),
                    "ma_normalise: parents of shape (0 to ", kOrientations, ", ", bands.size(1),
                    ", ", bands.size(2), ") expected, got ", parents.sizes());
  TORCH_CHECK_VALUE(margin >= 0 && bands.size(1) >= 3 + 2 * margin &&
                        bands.size(2) >= 3 + 2 * margin,
                    "ma_normalise: a margin from 0 that leaves a pixel of ", bands.size(1), " x ",
                    bands.size(2), " expected, got ", margin);
}

at::Tensor empty_normalised(const at::Tensor& bands, int64_t margin) {
  const int64_t lost = 2 + 2 * margin;
  return at::empty({kOrientations, bands.size(1) - lost, bands.size(2) - lost}, bands.options());
}

}  // namespace
}  // namespace ranksrgan
