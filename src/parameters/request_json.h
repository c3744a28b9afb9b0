// A request's fields as members of JSON objects. Pure; any thread.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <span>
#include <vector>

#include "job/job.h"

namespace diffused {

// Adds every field under its name, absent ones as null, and the model and the seeds: what a job's row keeps.
void write_request(const GenerateRequest& request, boost::json::object& to);
// Reads what write_request made. What a row of an older program does not have stays absent. Throws what
// Boost.JSON's conversions throw where it is of another kind.
void read_request(const boost::json::object& from, GenerateRequest& request);

// Adds each field that is there and says something, but for those that `to` has already.
void write_given_fields(const GenerateRequest& request, boost::json::object& to);

// [{"name", "weight", "text_weight"}], and back. Reading throws where it is no such list.
boost::json::array write_loras(std::span<const LoraChoice> loras);
std::vector<LoraChoice> read_loras(const boost::json::value& list);

}  // namespace diffused
