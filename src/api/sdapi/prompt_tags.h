// A1111's tags in prompts: "<lora:NAME:WEIGHT>" and its like.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "job/job.h"

namespace diffused::api {

// What is left of a prompt without its tags, and the LoRAs that they name; "<lora:NAME>" has weight 1.
// "<lyco:…>" is another word for it; "<hypernet:…>", which no model here has, is left out.
struct TaggedPrompt {
  std::string text;
  std::vector<LoraChoice> loras;
};
// Errors: invalid_argument about `prompt` where a tag has no name or no number for a weight.
Result<TaggedPrompt> take_tags(std::string_view prompt);

// The prompt without its tags, whatever they say.
std::string without_tags(std::string_view prompt);

}  // namespace diffused::api
