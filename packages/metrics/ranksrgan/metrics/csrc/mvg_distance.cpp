#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // features: (N, P, K), mean: (K,), covariance: (K, K), all float64 on the CPU. Returns (N,).
  m.def("mvg_distance(Tensor features, Tensor mean, Tensor covariance) -> Tensor");
}
