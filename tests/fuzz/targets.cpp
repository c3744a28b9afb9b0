#include "fuzz/targets.h"

#include <algorithm>
#include <array>

namespace diffused::fuzz {

std::span<const Target> targets() {
  static constexpr std::array kTargets{
      Target{"http_session", http_session},
      Target{"multipart", multipart},
      Target{"url_and_host", url_and_host},
      Target{"endpoint", endpoint},
      Target{"json_body", json_body},
      Target{"prompt_tags", prompt_tags},
      Target{"styles", styles},
      Target{"infotext", infotext},
      Target{"job_row", job_row},
      Target{"model_note", model_note},
      Target{"key_file", key_file},
      Target{"png", png},
      Target{"jpeg", jpeg},
      Target{"webp", webp},
      Target{"gif", gif},
      Target{"bmp", bmp},
      Target{"tiff", tiff},
      Target{"exif", exif},
      Target{"png_text", png_text},
      Target{"base64", base64},
      Target{"safetensors_header", safetensors_header},
      Target{"lora_file", lora_file},
      Target{"upscaler_file", upscaler_file},
      Target{"spiece_model", spiece_model},
      Target{"tokenizer_json", tokenizer_json},
      Target{"weighted_prompt", weighted_prompt},
      Target{"scheduler_config", scheduler_config},
      Target{"s3_listing", s3_listing},
      Target{"s3_key_file", s3_key_file},
      Target{"hub_listing", hub_listing},
      Target{"options_file", options_file},
      Target{"worker_messages", worker_messages},
  };
  return kTargets;
}

const Target* find_target(std::string_view name) {
  const auto found = std::ranges::find(targets(), name, &Target::name);
  return found == targets().end() ? nullptr : &*found;
}

}  // namespace diffused::fuzz
