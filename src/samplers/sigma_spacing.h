// Where n noise levels lie between the first and the last one. In double, as numpy computes them.
#pragma once

#include <cstddef>
#include <vector>

#include "samplers/options.h"

namespace diffused::samplers {

enum class SigmaSpacing { linear, karras, exponential, beta };

// use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas: one of them, or none.
SigmaSpacing read_spacing(Options& options);

// n levels from `first` to `last`, spaced as the name says.
std::vector<double> spaced(SigmaSpacing spacing, double first, double last, std::size_t n);

// n evenly spaced values, both ends included; `first` alone when n is 1. numpy.linspace, bit for bit.
std::vector<double> linspace(double first, double last, std::size_t n);

// Evenly spaced in sigma^(1/7): Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based
// Generative Models", equation 5.
std::vector<double> karras_spacing(double first, double last, std::size_t n);

// Evenly spaced in log sigma.
std::vector<double> exponential_spacing(double first, double last, std::size_t n);

// At the quantiles of Beta(0.6, 0.6): Lee et al. 2024, "Beta Sampling is All You Need".
std::vector<double> beta_spacing(double first, double last, std::size_t n);

}  // namespace diffused::samplers
