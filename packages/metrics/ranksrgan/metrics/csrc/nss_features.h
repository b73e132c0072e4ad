// What every kernel of nss_features checks and allocates first; the Python face has said it to the
// user before.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "aggd.h"
#include "blocks.h"

namespace ranksrgan {
namespace {

BlockGrid check_nss(const at::Tensor& images, const at::Tensor& table, int64_t border) {
  const at::ScalarType type = images.scalar_type();
  TORCH_CHECK_TYPE(type == at::kByte || type == at::kFloat || type == at::kDouble,
                   "nss_features: uint8, float32 or float64 images expected, got ", type);
  TORCH_CHECK_VALUE(images.dim() == 4 && (images.size(1) == 1 || images.size(1) == 3),
                    "nss_features: images of shape (N, 3 or 1, H, W) expected, got ",
                    images.sizes());
  TORCH_CHECK_TYPE(table.scalar_type() == at::kDouble,
                   "nss_features: a float64 table expected, got ", table.scalar_type());
  TORCH_CHECK_VALUE(table.dim() == 2 && table.size(0) == kAggdRows && table.size(1) > 0,
                    "nss_features: a table of shape (4, T) expected, got ", table.sizes());
  TORCH_CHECK_VALUE(table.device() == images.device(), "nss_features: a table on ",
                    images.device(), " expected, like the images, got ", table.device());
  TORCH_CHECK_VALUE(border >= 0, "nss_features: a border of 0 or more expected, got ", border);
  const int64_t smaller = std::min(images.size(2), images.size(3));
  TORCH_CHECK_VALUE(border < smaller && smaller - 2 * border >= kBlock,
                    "nss_features: images of at least ", kBlock, " x ", kBlock,
                    " inside a border of ", border, " expected, got ", images.size(2), " x ",
                    images.size(3));
  const int64_t rows = (images.size(2) - 2 * border) / kBlock;
  const int64_t columns = (images.size(3) - 2 * border) / kBlock;
  return {images.size(0), images.size(1), images.size(2), images.size(3), border, rows, columns};
}

// (N, P, 36) float64
at::Tensor empty_features(const at::Tensor& images, const BlockGrid& grid) {
  return at::empty({grid.batch, grid.blocks(), 2 * kFeatures}, images.options().dtype(at::kDouble));
}

}  // namespace
}  // namespace ranksrgan
