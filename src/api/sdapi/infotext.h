// The text in which A1111's programs write down how a picture was made.
#pragma once

#include <boost/json/object.hpp>
#include <string_view>

namespace diffused::api {

// "prompt\nNegative prompt: …\nSteps: 28, Sampler: Euler, Size: 64x64, Note: \"a, b\"" → {"Prompt", "Negative
// prompt", "Steps": "28", …, "Size-1": "64", "Size-2": "64", …}; all values are text. Never fails: what does
// not have the form counts as the prompt.
boost::json::object parse_infotext(std::string_view text);

}  // namespace diffused::api
