#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // bands: (6, H, W) float64; parents: (P, H, W) float64, P at most 6;
  // the result: (6, H - 2 - 2 margin, W - 2 - 2 margin) float64.
  m.def("ma_normalise(Tensor bands, Tensor parents, SymInt margin) -> Tensor");
}
