#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // images: (N, H, W) uint8, float32 or float64. Output row k is the sum over t of
  // row_weights[t, k] * input row row_indices[t, k]; columns likewise. indices: int64 and weights:
  // float64, (T, size), both on the CPU whatever the device of the images.
  m.def(
      "imresize(Tensor images, Tensor row_indices, Tensor row_weights, Tensor column_indices, "
      "Tensor column_weights, bool columns_first) -> Tensor");
}
