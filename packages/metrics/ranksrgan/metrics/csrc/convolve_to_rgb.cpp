#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // A 3x3 convolution that keeps the size and makes three channels, in float32. x: (1, C, H, W)
  // float32 or bfloat16, C a multiple of 16, channels last, any row stride; weight: (C, 32)
  // float32, that of output o and tap t (row by row) at 3 t + o; bias: (3) float32. Returns
  // (1, 3, H, W) float32.
  m.def("convolve_to_rgb(Tensor x, Tensor weight, Tensor bias) -> Tensor");
}
