#include "pipelines/lora/lora_scales.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cmath>

namespace diffused::pipelines {
namespace {

constexpr const char* kKey = "lora_adapter_metadata";

bool means(std::string_view pattern, std::string_view layer) {
  if (pattern.starts_with('^')) return pattern.substr(1) == layer;
  return layer.ends_with(pattern) &&
         (layer.size() == pattern.size() || layer[layer.size() - pattern.size() - 1] == '.');
}

double to_number(const boost::json::value* value) {
  return value && value->is_number() ? value->to_number<double>() : 0;
}

}  // namespace

Result<LoraScales> LoraScales::read(const std::map<std::string, std::string>& file_metadata) {
  LoraScales scales;
  const auto found = file_metadata.find(kKey);
  if (found == file_metadata.end()) return scales;
  boost::json::error_code ec;
  const boost::json::value parsed = boost::json::parse(found->second, ec);
  if (ec || !parsed.is_object()) return fail(ErrorCode::data_loss, std::string(kKey) + " is no JSON object");
  scales.metadata_ = parsed.get_object();
  return scales;
}

double LoraScales::of(const std::string& name) const {
  const std::size_t dot = name.find('.');
  const std::string component = name.substr(0, dot) + ".", layer = name.substr(dot + 1);
  const double rank = number(component, layer, "r", "rank_pattern");
  const double alpha = number(component, layer, "lora_alpha", "alpha_pattern");
  if (rank <= 0 || alpha <= 0) return 1;
  const boost::json::value* const rank_stabilised = metadata_.if_contains(component + "use_rslora");
  const bool root = rank_stabilised && rank_stabilised->is_bool() && rank_stabilised->get_bool();
  return alpha / (root ? std::sqrt(rank) : rank);
}

double LoraScales::number(const std::string& component, const std::string& layer, const char* key,
                          const char* patterns) const {
  if (const auto* const all = metadata_.if_contains(component + patterns); all && all->is_object()) {
    for (const auto& [pattern, value] : all->get_object()) {
      if (means(std::string_view(pattern.data(), pattern.size()), layer)) return to_number(&value);
    }
  }
  return to_number(metadata_.if_contains(component + key));
}

}  // namespace diffused::pipelines
