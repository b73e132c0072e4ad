// The constants that the CPU and the CUDA kernels share with ranksrgan.metrics.reference.
#pragma once

namespace ranksrgan {

// Half of the normalised 7-tap Gaussian of sigma 7/6, from the outermost tap to the centre.
constexpr double kTap0 = 0.01256020046847462;
constexpr double kTap1 = 0.07882796468173003;
constexpr double kTap2 = 0.2372960771171706;
constexpr double kTap3 = 0.3426315154652495;
constexpr int kReach = 3;

// A pixel this close to its local mean is on it; what is left is rounding, whose sign is noise.
constexpr double kSnap = 1e-9;

// MATLAB's rgb2gray: the first row of the inverse of the NTSC matrix.
constexpr double kRed = 0.298936021293776;
constexpr double kGreen = 0.587043074451121;
constexpr double kBlue = 0.114020904255103;

}  // namespace ranksrgan
