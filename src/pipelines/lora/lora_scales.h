// What PEFT's configuration says of the factors of a LoRA, as Diffusers writes it into a file.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>

#include "base/result.h"

namespace diffused::pipelines {

// `lora_adapter_metadata`: one JSON object of "unet.lora_alpha", "unet.r", "unet.alpha_pattern" and so on,
// for each component. A pattern means the layers that end like it, at a dot; regular expressions are not read
// as such.
class LoraScales {
 public:
  // Empty metadata: all factors are 1. Error: data_loss.
  static Result<LoraScales> read(const std::map<std::string, std::string>& file_metadata);

  // alpha / rank of a layer ("unet.mid_block.attentions.0.proj_in"), or alpha / √rank where the file says so;
  // 1 for a component of which the file says nothing.
  double of(const std::string& layer) const;

 private:
  double number(const std::string& component, const std::string& layer, const char* key,
                const char* patterns) const;

  boost::json::object metadata_;
};

}  // namespace diffused::pipelines
