// A feature map as the convolutions of csrc see it.
#pragma once

#include <ATen/core/Tensor.h>

namespace ranksrgan {

// A map whose channels lie side by side; strides in elements.
struct Map {
  char* data;
  int64_t channels, height, width, row, pixel;
  bool half;  // bfloat16, or else float32
  int64_t bytes() const { return half ? 2 : 4; }
};

namespace {

Map check_map(const char* name, const at::Tensor& x) {
  TORCH_CHECK_TYPE(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16, name,
                   ": float32 or bfloat16 expected, got ", x.scalar_type());
  TORCH_CHECK_VALUE(x.dim() == 4 && x.size(0) == 1 && x.numel() > 0, name,
                    ": a shape (1, C, H, W) expected, got ", x.sizes());
  TORCH_CHECK_VALUE(x.stride(1) == 1 || x.size(1) == 1, name,
                    ": channels side by side expected, got strides ", x.strides());
  return {static_cast<char*>(const_cast<void*>(x.const_data_ptr())), x.size(1), x.size(2),
          x.size(3), x.stride(2), x.stride(3), x.scalar_type() == at::kBFloat16};
}

}  // namespace
}  // namespace ranksrgan
