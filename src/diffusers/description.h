// What a worker says of the model that it has loaded (python/diffused_worker/model.py, signature.py).
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>

#include "base/result.h"
#include "job/job.h"

namespace diffused::diffusers {

// One way to ask a pipeline: "text", "image" (with a picture) or "inpaint" (with a picture and a mask).
struct Form {
  std::string class_name;     // whose call it is
  bool steps = true;          // it can be held after each step; false: a picture is one unit
  boost::json::object takes;  // parameter → its default; null where the pipeline decides

  bool has(std::string_view parameter) const { return takes.contains(parameter); }
  // Its default as a number, where it is one.
  std::optional<double> number(std::string_view parameter) const;
};

struct Description {
  PipelineInfo info;              // but for `networks`
  std::uint64_t step_parameters;  // of the network that makes the steps; 0: unknown
  std::uint64_t resident_bytes;   // the whole process's, after loading
  std::map<std::string, Form> forms;

  // Null when it cannot be asked so.
  const Form* form_for(const GenerateRequest& request) const;
};

// Error: data_loss, when something is missing or of the wrong kind.
Result<Description> read_description(const boost::json::object& header);

}  // namespace diffused::diffusers
