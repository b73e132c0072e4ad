#ifdef __x86_64__  // elsewhere there is no kernel

#include <torch/library.h>

#include "../winograd.h"

namespace ranksrgan::winograd {
namespace {

void winograd_cpu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  at::Tensor& out, const std::optional<at::Tensor>& residual, double factor,
                  double slope, int64_t shuffle) {
  const Convolution work =
      check_winograd(x, weight, bias, out, residual, factor, slope, shuffle);
  work.half ? winograd_bfloat16(work) : winograd_float32(work);
}

}  // namespace
}  // namespace ranksrgan::winograd

TORCH_LIBRARY_IMPL(ranksrgan, CPU, m) { m.impl("winograd", ranksrgan::winograd::winograd_cpu); }

#endif
