#include "pipelines/found_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/string/predicate.hpp>
#include <system_error>

#include "tokenizers/unicode.h"

namespace diffused::pipelines {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".safetensors";

// Whether a link leads back to a folder that it lies in.
bool leads_back(const fs::path& folder, const fs::path& entry) {
  std::error_code ec;
  for (fs::path above = entry; above != folder && above.has_relative_path();) {
    above = above.parent_path();
    if (fs::equivalent(above, entry, ec)) return true;
  }
  return false;
}

// A pipe would never be read to its end, and a name that is no text nobody can ask for.
std::string refusal_of(const fs::path& path, const std::string& name) {
  std::error_code ec;
  const char* why = "";
  if (!fs::is_regular_file(path, ec)) why = "not a file";
  if (tokenizers::valid_utf8(name) != name) why = "the name is not UTF-8";
  return *why ? fmt::format("{}: {}", tokenizers::valid_utf8(path.string()), why) : "";
}

}  // namespace

Result<std::vector<FoundFile>> find_safetensors(const fs::path& folder) {
  std::vector<FoundFile> found;
  std::error_code ec;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::follow_directory_symlink, ec);
  for (; !ec && entry != fs::recursive_directory_iterator(); entry.increment(ec)) {
    const fs::path& path = entry->path();
    if (entry->is_symlink(ec) && leads_back(folder, path)) entry.disable_recursion_pending();
    if (!boost::algorithm::iequals(path.extension().string(), kEnding)) continue;
    std::string name = path.lexically_relative(folder).generic_string();
    name.resize(name.size() - kEnding.size());
    found.push_back({name, path, refusal_of(path, name)});
  }
  if (ec)
    return fail(ErrorCode::not_found, fmt::format("{}: {}", folder.string(), ec.message()), folder.string());
  std::ranges::sort(found, {}, &FoundFile::name);
  return found;
}

}  // namespace diffused::pipelines
