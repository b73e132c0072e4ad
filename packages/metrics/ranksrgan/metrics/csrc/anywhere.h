// Marks what the CPU and the CUDA kernels both call.
#pragma once

#ifdef __CUDACC__
#define RANKSRGAN_ANYWHERE __host__ __device__
#else
#define RANKSRGAN_ANYWHERE
#endif
