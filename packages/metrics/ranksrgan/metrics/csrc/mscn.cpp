#include <torch/library.h>

TORCH_LIBRARY_FRAGMENT(ranksrgan, m) {
  // planes: (N, H, W) float32 or float64; each result has its shape and type.
  m.def("mscn(Tensor planes) -> (Tensor normalised, Tensor mean, Tensor deviation)");
}
