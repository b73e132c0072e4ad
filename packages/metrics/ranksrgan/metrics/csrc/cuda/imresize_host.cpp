#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "../imresize.h"
#include "imresize_kernel.h"

namespace ranksrgan {
namespace {

// (N, H, W) along one of its axes, 1 or 2
template <typename Sample>
at::Tensor resize_axis(const at::Tensor& images, int64_t axis, const at::Tensor& indices,
                       const at::Tensor& weights) {
  const at::Tensor where = indices.contiguous().to(images.device());
  const at::Tensor with = weights.contiguous().to(images.device());
  const int64_t batch = images.size(0), height = images.size(1), width = images.size(2);
  const int64_t size = indices.size(1), taps = indices.size(0);
  const bool rows = axis == 1;
  at::Tensor out = rows ? at::empty({batch, size, width}, images.options())
                        : at::empty({batch, height, size}, images.options());
  const ResizeShape shape = rows ? ResizeShape{batch, height, width, size, taps}
                                 : ResizeShape{batch * height, width, 1, size, taps};
  launch_resize_axis(images.const_data_ptr<Sample>(), shape, where.const_data_ptr<int64_t>(),
                     with.const_data_ptr<double>(), out.data_ptr<Sample>(),
                     c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

template <typename Sample>
at::Tensor resize(const at::Tensor& images, const at::Tensor& row_indices,
                  const at::Tensor& row_weights, const at::Tensor& column_indices,
                  const at::Tensor& column_weights, bool columns_first) {
  if (columns_first) {
    const at::Tensor passed = resize_axis<Sample>(images, 2, column_indices, column_weights);
    return resize_axis<Sample>(passed, 1, row_indices, row_weights);
  }
  const at::Tensor passed = resize_axis<Sample>(images, 1, row_indices, row_weights);
  return resize_axis<Sample>(passed, 2, column_indices, column_weights);
}

at::Tensor imresize_cuda(const at::Tensor& images, const at::Tensor& row_indices,
                         const at::Tensor& row_weights, const at::Tensor& column_indices,
                         const at::Tensor& column_weights, bool columns_first) {
  check_imresize(images, row_indices, row_weights, column_indices, column_weights);
  const c10::cuda::CUDAGuard guard(images.device());
  const at::Tensor input = images.contiguous();
  if (input.numel() == 0) {
    return at::empty({0, row_indices.size(1), column_indices.size(1)}, input.options());
  }
  switch (input.scalar_type()) {
    case at::kByte:
      return resize<uint8_t>(input, row_indices, row_weights, column_indices, column_weights,
                             columns_first);
    case at::kFloat:
      return resize<float>(input, row_indices, row_weights, column_indices, column_weights,
                           columns_first);
    default:
      return resize<double>(input, row_indices, row_weights, column_indices, column_weights,
                            columns_first);
  }
}

}  // namespace
}  // namespace ranksrgan

TORCH_LIBRARY_IMPL(ranksrgan, CUDA, m) { m.impl("imresize", ranksrgan::imresize_cuda); }
