// What the kernel of mvg_distance checks first; the Python face has said it to the user before.
#pragma once

#include <ATen/core/Tensor.h>

namespace ranksrgan {
namespace {

void check_mvg(const at::Tensor& features, const at::Tensor& mean, const at::Tensor& covariance) {
  for (const at::Tensor* argument : {&features, &mean, &covariance}) {
    TORCH_CHECK_TYPE(argument->scalar_type() == at::kDouble,
                     "mvg_distance: float64 expected, got ", argument->scalar_type());
  }
  TORCH_CHECK_VALUE(features.dim() == 3 && features.size(2) > 0,
                    "mvg_distance: features of shape (N, P, K) with K >= 1 expected, got ",
                    features.sizes());
  const int64_t k = features.size(2);
  TORCH_CHECK_VALUE(mean.dim() == 1 && mean.size(0) == k, "mvg_distance: a mean of shape (", k,
                    ") expected, got ", mean.sizes());
  TORCH_CHECK_VALUE(
      covariance.dim() == 2 && covariance.size(0) == k && covariance.size(1) == k,
      "mvg_distance: a covariance of shape (", k, ", ", k, ") expected, got ", covariance.sizes());
}

}  // namespace
}  // namespace ranksrgan
