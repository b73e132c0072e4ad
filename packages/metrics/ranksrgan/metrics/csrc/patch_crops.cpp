#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // images: (N, 3|1, H, W) uint8, float32 or float64;
  // crops: (N, P, C, size, size) of its type; sharpness: (N, P) float64.
  m.def("patch_crops(Tensor images, SymInt size, SymInt stride) -> (Tensor crops, Tensor sharpness)");
}
