#include "app/model_index.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/files.h"

namespace diffused::app {

namespace json = boost::json;

namespace {
constexpr std::size_t kIndexBytesMax = 1 << 20;
}  // namespace

Result<ModelIndex> read_model_index(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "model_index.json";
  const auto text = read_whole_file(file, kIndexBytesMax);
  if (!text && text.error().code == ErrorCode::not_found)
    return fail(ErrorCode::not_found,
                fmt::format("{}: no such file; not a Diffusers folder?", file.string()));
  if (!text) return tl::unexpected(text.error());
  boost::system::error_code error;
  const json::value parsed = json::parse(*text, error);
  if (error || !parsed.is_object())
    return fail(ErrorCode::data_loss, fmt::format("{}: not a JSON object", file.string()));

  ModelIndex index;
  for (const auto& [key, value] : parsed.as_object()) {
    if (key == "_class_name" && value.is_string()) index.class_name = value.as_string();
    const json::array* pair = value.if_array();
    if (key.starts_with("_") || pair == nullptr || pair->size() != 2) continue;
    if (pair->at(0).is_string() && pair->at(1).is_string()) {
      index.components.push_back(
          {std::string(key), std::string(pair->at(0).as_string()), std::string(pair->at(1).as_string())});
    } else {
      index.absent.emplace_back(key);
    }
  }
  return index;
}

}  // namespace diffused::app
