#include "parameters/job_record.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "base/json_text.h"
#include "parameters/json_members.h"
#include "parameters/request_fields.h"
#include "parameters/request_json.h"

namespace diffused {
namespace {

namespace json = boost::json;

constexpr int kVersion = 1;

// Calls `visit` with the name and the value of each member that says how the request is answered, and for
// whom: the one list for both directions.
template <typename Spec, typename Visit>
void each_answer_member(Spec& spec, const Visit& visit) {
  visit("quality", spec.request.quality);
  visit("quality_preset", spec.request.quality_preset);
  visit("partial_images", spec.request.partial_images);
  visit("safety_identifier", spec.request.safety_identifier);
  visit("awaited", spec.awaited);
  visit("watched", spec.watched);
}

// One picture is a text, empty for none, and several are a list.
json::value ids_value(const PicturePointer&, const std::vector<std::string>& ids) {
  return json::value(ids.empty() ? std::string() : ids.front());
}
json::value ids_value(const std::vector<PicturePointer>&, const std::vector<std::string>& ids) {
  return json::value_from(ids);
}

std::vector<std::string> read_ids(const json::value* value) {
  if (value == nullptr) return {};  // of an older program
  if (value->is_array()) return json::value_to<std::vector<std::string>>(*value);
  const std::string id(value->as_string());
  return id.empty() ? std::vector<std::string>() : std::vector{id};
}

}  // namespace

std::vector<std::string> picture_ids(const JobSpec& spec) {
  std::vector<std::string> all;
  for (const auto& [name, ids] : spec.pictures) all.insert(all.end(), ids.begin(), ids.end());
  return all;
}

std::string write_spec(const JobSpec& spec) {
  json::object text{{"version", kVersion},
                    {"output_format", spec.request.codec->name},
                    {"b64_json", spec.request.response_format == ResponseFormat::b64_json}};
  write_request(spec.request.generate, text);
  each_answer_member(spec, [&](const char* name, const auto& value) { text[name] = write_member(value); });
  each_picture(spec.request.generate, [&](const PictureInfo& input, const auto& member) {
    const auto ids = spec.pictures.find(input.name);
    text[member_key(input.name)] =
        ids_value(member, ids == spec.pictures.end() ? std::vector<std::string>() : ids->second);
  });
  return json_text(text);
}

Result<JobSpec> read_spec(const std::string& text) {
  JobSpec spec;
  try {
    const json::object object = json::parse(text).as_object();
    if (object.at("version").as_int64() != kVersion)
      return fail(ErrorCode::data_loss, "the job was written by another version of this server");
    read_request(object, spec.request.generate);
    each_answer_member(spec, [&](const char* name, auto& value) { read_member(object, name, value); });
    each_picture(spec.request.generate, [&](const PictureInfo& input, const auto&) {
      auto ids = read_ids(object.if_contains(member_key(input.name)));
      if (!ids.empty()) spec.pictures.emplace(input.name, std::move(ids));
    });
    spec.request.codec = find_codec(std::string(object.at("output_format").as_string()));
    spec.request.response_format =
        object.at("b64_json").as_bool() ? ResponseFormat::b64_json : ResponseFormat::url;
  } catch (const std::exception&) {  // Boost.JSON's conversions throw
    return fail(ErrorCode::data_loss, "the job's row cannot be read");
  }
  if (spec.request.codec == nullptr || spec.request.generate.n() == 0)
    return fail(ErrorCode::data_loss, "the job's row cannot be read");
  return spec;
}

json::object write_timings(const Timings& timings) {
  return {{"queue_seconds", timings.queue_seconds},
          {"encode_seconds", timings.encode_seconds},
          {"denoise_seconds", timings.denoise_seconds},
          {"decode_seconds", timings.decode_seconds},
          {"total_seconds", timings.total_seconds}};
}

Timings read_timings(const json::value& object) {
  const auto seconds = [&](const char* name) { return object.at(name).to_number<double>(); };
  Timings timings;
  timings.queue_seconds = seconds("queue_seconds");
  timings.encode_seconds = seconds("encode_seconds");
  timings.denoise_seconds = seconds("denoise_seconds");
  timings.decode_seconds = seconds("decode_seconds");
  timings.total_seconds = seconds("total_seconds");
  return timings;
}

std::string batch_key(const GenerateRequest& request) {
  return fmt::format("{}x{}", request.width.value_or(0), request.height.value_or(0));
}

}  // namespace diffused
