// A1111's tags in prompts: "<lora:NAME:WEIGHT>" and its like.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "job/job.h"

namespace diffused::api {

// What is left of a prompt without its tags, and the LoRAs that they name. Between colons stand the name, the
// weight in the text encoders and that in the denoiser, each 1 or as the one before it where it is left out;
// "te=" and "unet=" name the weights. "<lyco:…>" is another word for it; "<hypernet:…>", which no model here
// has, is left out.
struct TaggedPrompt {
  std::string text;
  std::vector<LoraChoice> loras;
  std::vector<std::string> ignored;  // what does nothing, or cannot be read, in words for people
};
TaggedPrompt take_tags(std::string_view prompt);

// The prompt without its tags, whatever they say.
std::string without_tags(std::string_view prompt);

}  // namespace diffused::api
