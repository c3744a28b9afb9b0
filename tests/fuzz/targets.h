// START HERE for the fuzz targets: everything that reads what strangers wrote, each as a function of bytes.
// `./dev fuzz NAME [seconds]` lets libFuzzer look for bytes that end it; the tests give each the bytes of
// corpus/NAME, among them all that ever did. A new one is a function here, a line in targets.cpp and a folder
// with a good example.
#pragma once

#include <span>
#include <string_view>

namespace diffused::fuzz {

// A target may be given any bytes. It ends the program, by a CHECK or a sanitizer, when the code at fault
// does not keep its word.
struct Target {
  std::string_view name;
  void (*run)(std::string_view bytes);
};

// THE LIST.
std::span<const Target> targets();
// Null when there is none of that name.
const Target* find_target(std::string_view name);

// http_targets.cpp
void http_session(std::string_view bytes);
void multipart(std::string_view bytes);
void url_and_host(std::string_view bytes);

// api_targets.cpp
void endpoint(std::string_view bytes);
void json_body(std::string_view bytes);
void prompt_tags(std::string_view bytes);
void styles(std::string_view bytes);
void infotext(std::string_view bytes);
void job_row(std::string_view bytes);
void model_note(std::string_view bytes);
void key_file(std::string_view bytes);

// image_targets.cpp
void png(std::string_view bytes);
void jpeg(std::string_view bytes);
void webp(std::string_view bytes);
void gif(std::string_view bytes);
void bmp(std::string_view bytes);
void tiff(std::string_view bytes);
void exif(std::string_view bytes);
void png_text(std::string_view bytes);
void base64(std::string_view bytes);

// file_targets.cpp
void safetensors_header(std::string_view bytes);
void lora_file(std::string_view bytes);
void upscaler_file(std::string_view bytes);
void spiece_model(std::string_view bytes);
void tokenizer_json(std::string_view bytes);
void weighted_prompt(std::string_view bytes);
void scheduler_config(std::string_view bytes);
void s3_listing(std::string_view bytes);
void s3_key_file(std::string_view bytes);
void hub_listing(std::string_view bytes);

// program_targets.cpp
void options_file(std::string_view bytes);
void worker_messages(std::string_view bytes);

}  // namespace diffused::fuzz
