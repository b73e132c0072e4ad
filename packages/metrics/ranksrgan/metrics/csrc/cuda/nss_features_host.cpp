#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "../nss_features.h"
#include "nss_features_kernel.h"

namespace ranksrgan {
namespace {

at::Tensor nss_features_cuda(const at::Tensor& images, const at::Tensor& table, int64_t border,
                             bool gray, bool single) {
  const BlockGrid grid = check_nss(images, table, border);
  const c10::cuda::CUDAGuard guard(images.device());
  const at::Tensor input = images.contiguous(), rows = table.contiguous();
  at::Tensor features = empty_features(input, grid);
  if (features.numel() > 0) {
    const auto run = [&](const auto* samples) {
      launch_nss_features(samples, grid, aggd_table(rows.const_data_ptr<double>(), rows.size(1)),
                          gray, single, features.data_ptr<double>(),
                          c10::cuda::getCurrentCUDAStream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    };
    switch (input.scalar_type()) {
      case at::kByte:
        run(input.const_data_ptr<uint8_t>());
        break;
      case at::kFloat:
        run(input.const_data_ptr<float>());
        break;
      default:
        run(input.const_data_ptr<double>());
    }
  }
  return features;
}

}  // namespace
}  // namespace ranksrgan

TORCH_LIBRARY_IMPL(ranksrgan, CUDA, m) { m.impl("nss_features", ranksrgan::nss_features_cuda); }
