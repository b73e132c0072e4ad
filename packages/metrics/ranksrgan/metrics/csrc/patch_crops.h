// What every kernel of patch_crops checks and allocates first; the Python face has said it to the
// user before.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace ranksrgan {
namespace {

struct CropGrid {
  int64_t size, stride, rows, columns;
  int64_t positions() const { return rows * columns; }
};

CropGrid check_crops(const at::Tensor& images, int64_t size, int64_t stride) {
  const at::ScalarType type = images.scalar_type();
  TORCH_CHECK_TYPE(type == at::kByte || type == at::kFloat || type == at::kDouble,
                   "patch_crops: uint8, float32 or float64 images expected, got ", type);
  TORCH_CHECK_VALUE(images.dim() == 4 && (images.size(1) == 1 || images.size(1) == 3),
                    "patch_crops: images of shape (N, 3 or 1, H, W) expected, got ",
                    images.sizes());
  TORCH_CHECK_VALUE(size >= 1 && stride >= 1,
                    "patch_crops: size and stride of at least 1 expected, got ", size, " and ",
                    stride);
  TORCH_CHECK_VALUE(size <= images.size(2) && size <= images.size(3),
                    "patch_crops: images of at least ", size, " x ", size, " expected, got ",
                    images.size(2), " x ", images.size(3));
  return {size, stride, (images.size(2) - size) / stride + 1, (images.size(3) - size) / stride + 1};
}

// (N, P, C, size, size) of the type of the images
at::Tensor empty_crops(const at::Tensor& images, const CropGrid& grid) {
  return at::empty({images.size(0), grid.positions(), images.size(1), grid.size, grid.size},
                   images.options());
}

// (N, P) float64
at::Tensor empty_sharpness(const at::Tensor& images, const CropGrid& grid) {
  return at::empty({images.size(0), grid.positions()}, images.options().dtype(at::kDouble));
}

}  // namespace
}  // namespace ranksrgan
