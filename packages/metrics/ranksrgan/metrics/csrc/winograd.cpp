#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // out = residual + factor * leaky(convolve(x) + bias): a 3x3 convolution that keeps the size, by
  // Winograd's F(2x2, 3x3). x: (1, C, H, W) float32 or bfloat16, channels last, any row stride;
  // weight: (blocks, 16, C / 2, 32 or 64 outputs of a block, 2) bfloat16, transformed, or
  // (blocks, 16, C, 32, 1) float32, and then x and out are float32; bias: (outputs) float32; out:
  // (1, outputs / shuffle^2, shuffle * H, shuffle * W), like x; residual: float32 of the size of
  // out, which is float32 then and not shuffled; leaky(y): y or slope * y, whichever is greater.
  m.def(
      "winograd(Tensor x, Tensor weight, Tensor bias, Tensor(a!) out, Tensor? residual, "
      "float factor, float slope, int shuffle) -> ()");
}
