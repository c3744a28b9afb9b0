// LoRAs as clients choose them: their JSON, their limits, and whether a model has them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/fields.h"
#include "job/job.h"
#include "parameters/request_fields.h"

namespace diffused::api {

// The limits of one request, which may have kLorasMax of them. A name is looked up among the model's and is
// never a path.
constexpr std::size_t kLoraNameBytesMax = 255;
constexpr double kLoraWeightMax = 10;  // and as much below zero

// The value of the field `loras` in all its spellings: a list of objects with name and weight, one such
// object, or an object of weights by name. What the setter stores in must outlive it.
Setter into(std::vector<LoraChoice>& to);
extern const std::string_view kLorasSchema;

// Whether the model has them all, and they are not too many. Errors: invalid_argument about `loras`, with the
// names that there are.
Result<void> check_loras(const PipelineInfo& model, std::span<const LoraChoice> loras);

// The LoRA that A1111's clients mean by a name: besides its own that of its file without the folder, or with
// the ending, or what the file calls itself. Nothing: the model has none. Errors: invalid_argument about
// `prompt` when several files are called so.
Result<std::optional<std::string>> find_lora(const PipelineInfo& model, std::string_view name);

}  // namespace diffused::api
