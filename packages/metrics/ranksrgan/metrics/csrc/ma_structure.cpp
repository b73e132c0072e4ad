#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // planes: K of (H, W) float64; first, second: P indices into them; the result: (P,) float64.
  m.def("ma_structure(Tensor[] planes, int[] first, int[] second) -> Tensor");
}
