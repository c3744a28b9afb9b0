#include "samplers/sigma_spacing.h"

#include <boost/math/distributions/beta.hpp>
#include <cmath>

namespace diffused::samplers {

SigmaSpacing read_spacing(Options& options) {
  SigmaSpacing chosen = SigmaSpacing::linear;
  for (const auto& [key, spacing] : {std::pair{"use_karras_sigmas", SigmaSpacing::karras},
                                     {"use_exponential_sigmas", SigmaSpacing::exponential},
                                     {"use_beta_sigmas", SigmaSpacing::beta}}) {
    bool wanted = false;
    options.read(key, wanted);
    if (wanted && chosen != SigmaSpacing::linear)
      options.refuse(key, "the only spacing of sigmas that is chosen");
    if (wanted) chosen = spacing;
  }
  return chosen;
}

std::vector<double> spaced(SigmaSpacing spacing, double first, double last, std::size_t n) {
  switch (spacing) {
    case SigmaSpacing::linear:
      return linspace(first, last, n);
    case SigmaSpacing::karras:
      return karras_spacing(first, last, n);
    case SigmaSpacing::exponential:
      return exponential_spacing(first, last, n);
    case SigmaSpacing::beta:
      return beta_spacing(first, last, n);
  }
  return {};
}

std::vector<double> linspace(double first, double last, std::size_t n) {
  std::vector<double> values(n, first);
  if (n < 2) return values;
  const double step = (last - first) / static_cast<double>(n - 1);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<double>(i) * step + first;
  values.back() = last;
  return values;
}

std::vector<double> karras_spacing(double first, double last, std::size_t n) {
  constexpr double kRho = 7;
  const double first_root = std::pow(first, 1 / kRho), last_root = std::pow(last, 1 / kRho);
  std::vector<double> values = linspace(0, 1, n);
  for (double& value : values) value = std::pow(first_root + value * (last_root - first_root), kRho);
  return values;
}

std::vector<double> exponential_spacing(double first, double last, std::size_t n) {
  std::vector<double> values = linspace(std::log(first), std::log(last), n);
  for (double& value : values) value = std::exp(value);
  return values;
}

std::vector<double> beta_spacing(double first, double last, std::size_t n) {
  // Without the promotion to long double the quantiles are SciPy's, which are Boost's too, bit for bit.
  using Policy = boost::math::policies::policy<boost::math::policies::promote_double<false>>;
  const boost::math::beta_distribution<double, Policy> beta(0.6, 0.6);
  std::vector<double> values = linspace(0, 1, n);
  for (double& value : values) value = last + boost::math::quantile(beta, 1 - value) * (first - last);
  return values;
}

}  // namespace diffused::samplers
