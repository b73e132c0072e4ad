#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // planes: (N, H, W) float64; each result: (N, ceil(H / 3), ceil(W / 3)) float64.
  m.def("ma_dct(Tensor planes) -> (Tensor ratio, Tensor variation, Tensor orientation)");
}
