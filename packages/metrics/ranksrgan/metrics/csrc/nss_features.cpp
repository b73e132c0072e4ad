#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // images: (N, 3|1, H, W) uint8, or float32 or float64 in [0, 1]; table: (4, T) float64, see
  // ranksrgan.metrics.aggd; gray: which luma. Returns (N, P, 36) float64.
  m.def(
      "nss_features(Tensor images, Tensor table, SymInt border, bool gray, bool single) -> Tensor");
}
