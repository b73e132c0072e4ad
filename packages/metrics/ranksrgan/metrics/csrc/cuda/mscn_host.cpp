#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <tuple>

#include "../mscn.h"
#include "mscn_kernel.h"

namespace ranksrgan {
namespace {

template <typename Sample>
void run(const at::Tensor& planes, at::Tensor& normalised, at::Tensor& mean,
         at::Tensor& deviation) {
  launch_mscn(planes.const_data_ptr<Sample>(), planes.size(0), planes.size(1), planes.size(2),
              normalised.data_ptr<Sample>(), mean.data_ptr<Sample>(),
              deviation.data_ptr<Sample>(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> mscn_cuda(const at::Tensor& planes) {
  check_planes(planes);
  const c10::cuda::CUDAGuard guard(planes.device());
  const at::Tensor input = planes.contiguous();
  at::Tensor normalised = at::empty_like(input);
  at::Tensor mean = at::empty_like(input);
  at::Tensor deviation = at::empty_like(input);
  if (input.numel() > 0) {
    if (input.scalar_type() == at::kDouble) {
      run<double>(input, normalised, mean, deviation);
    } else {
      run<float>(input, normalised, mean, deviation);
    }
  }
  return {normalised, mean, deviation};
}

}  // namespace
}  // namespace ranksrgan

TORCH_LIBRARY_IMPL(ranksrgan, CUDA, m) { m.impl("mscn", ranksrgan::mscn_cuda); }
