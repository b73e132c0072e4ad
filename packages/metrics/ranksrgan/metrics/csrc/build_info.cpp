// What this library was built with, for `ranksrgan doctor`.
#include <pybind11/pybind11.h>
#include <torch/version.h>

#include <string>

// RANKSRGAN_CUDA_ARCHITECTURES is defined, as 8.0,9.0+PTX say, where the CUDA kernels are built.
#define RANKSRGAN_QUOTE(...) #__VA_ARGS__
#define RANKSRGAN_TEXT(...) RANKSRGAN_QUOTE(__VA_ARGS__)

namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

const char* simd() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__)
  return "AVX2";
#elif defined(__AVX__)
  return "AVX";
#elif defined(__ARM_FEATURE_SVE)
  return "SVE";
#elif defined(__ARM_NEON)
  return "NEON";
#elif defined(__SSE2__)
  return "SSE2";
#else
  return "none";
#endif
}

const char* cuda_architectures() {
#ifdef RANKSRGAN_CUDA_ARCHITECTURES
  return RANKSRGAN_TEXT(RANKSRGAN_CUDA_ARCHITECTURES);
#else
  return "";
#endif
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.doc() = "What the native operators were built with.";
  pybind11::dict facts;
  facts["compiler"] = compiler();
  facts["c++"] = std::to_string(__cplusplus / 100 % 100);
  facts["simd"] = simd();
  facts["cuda"] = cuda_architectures();
  facts["torch"] = TORCH_VERSION;
  m.attr("facts") = facts;
}
