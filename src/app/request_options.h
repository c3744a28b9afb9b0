// A request's fields as options of the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "job/job.h"

namespace diffused::app {

// Adds an option for every field of the list (parameters/request_fields.h) but the prompt, which is an
// argument:
// --num-inference-steps as --steps, and --lora NAME[:WEIGHT[:TEXT_WEIGHT]] for each of the LoRAs; the others
// under their names. --cache is among the options of the model (models.h). `request` must outlive the
// command.
void add_request_options(CLI::App& command, GenerateRequest& request);

// The files that are named for each of the list's pictures, by the picture's name there.
using PictureFiles = std::map<std::string, std::vector<std::string>, std::less<>>;

// Adds an option for every picture of the list. `files` must outlive the command.
void add_picture_options(CLI::App& command, PictureFiles& files);

// "NAME", "NAME:WEIGHT" or "NAME:WEIGHT:TEXT_WEIGHT"; a name may have colons of its own, and numbers after
// colons are weights. Error: invalid_argument for an empty name.
Result<LoraChoice> parse_lora(const std::string& text);

}  // namespace diffused::app
