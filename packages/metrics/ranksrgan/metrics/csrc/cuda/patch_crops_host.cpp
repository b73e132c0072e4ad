#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <tuple>

#include "../patch_crops.h"
#include "patch_crops_kernel.h"

namespace ranksrgan {
namespace {

template <typename Sample>
void run(const at::Tensor& images, const CropGrid& grid, at::Tensor& crops,
         at::Tensor& sharpness) {
  const CropShape shape{images.size(0), images.size(1), images.size(2),   images.size(3),
                        grid.size,      grid.stride,    grid.positions(), grid.columns};
  const at::Tensor sums = at::empty(
      {images.size(0), grid.positions(), patch_crops_parts(grid.size)}, sharpness.options());
  launch_patch_crops(images.const_data_ptr<Sample>(), shape, crops.data_ptr<Sample>(),
                     sums.data_ptr<double>(), sharpness.data_ptr<double>(),
                     c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

std::tuple<at::Tensor, at::Tensor> patch_crops_cuda(const at::Tensor& images, int64_t size,
                                                    int64_t stride) {
  const CropGrid grid = check_crops(images, size, stride);
  const c10::cuda::CUDAGuard guard(images.device());
  const at::Tensor input = images.contiguous();
  at::Tensor crops = empty_crops(input, grid);
  at::Tensor sharpness = empty_sharpness(input, grid);
  if (crops.numel() > 0) {
    switch (input.scalar_type()) {
      case at::kByte:
        run<uint8_t>(input, grid, crops, sharpness);
        break;
      case at::kFloat:
        run<float>(input, grid, crops, sharpness);
        break;
      default:
        run<double>(input, grid, crops, sharpness);
    }
  }
  return {crops, sharpness};
}

}  // namespace
}  // namespace ranksrgan

TORCH_LIBRARY_IMPL(ranksrgan, CUDA, m) { m.impl("patch_crops", ranksrgan::patch_crops_cuda); }
