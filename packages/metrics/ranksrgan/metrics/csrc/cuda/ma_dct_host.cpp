#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <tuple>

#include "../ma_dct.h"
#include "ma_dct_kernel.h"

namespace ranksrgan {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> ma_dct_cuda(const at::Tensor& planes) {
  check_ma_dct(planes);
  const c10::cuda::CUDAGuard guard(planes.device());
  const at::Tensor input = planes.contiguous();
  at::Tensor ratio = empty_statistic(input);
  at::Tensor variation = empty_statistic(input);
  at::Tensor orientation = empty_statistic(input);
  if (input.numel() > 0) {
    launch_ma_dct(input.const_data_ptr<double>(), input.size(0), input.size(1), input.size(2),
                  ratio.data_ptr<double>(), variation.data_ptr<double>(),
                  orientation.data_ptr<double>(), c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return {ratio, variation, orientation};
}

}  // namespace
}  // namespace ranksrgan

TORCH_LIBRARY_IMPL(ranksrgan, CUDA, m) { m.impl("ma_dct", ranksrgan::ma_dct_cuda); }
