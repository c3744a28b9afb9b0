#include "hub/repo.h"

#include <fmt/format.h>

#include <algorithm>

namespace diffused::hub {
namespace {

constexpr std::size_t kIdMax = 96;  // the hub's own limit
constexpr std::size_t kRevisionMax = 128;
constexpr std::size_t kPathMax = 512;

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_plain(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
  });
}

bool is_repo_part(std::string_view text) {
  return is_plain(text) && is_alphanumeric(text.front()) && text.back() != '.' && text.back() != '-' &&
         text.find("--") == text.npos && text.find("..") == text.npos;
}

// Whether every part between slashes fulfils `good`.
template <typename Good>
bool parts_are(std::string_view path, Good good) {
  for (;;) {
    const std::size_t slash = path.find('/');
    if (!good(path.substr(0, slash))) return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

// The name with what a terminal might obey made visible.
std::string shown(std::string_view name) {
  std::string text;
  for (const char c : name.substr(0, kPathMax)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      text += c;
  }
  return text;
}

}  // namespace

Result<Repo> parse_repo(std::string_view text) {
  Repo repo;
  const std::size_t at = text.find('@');
  const std::string_view id = text.substr(0, at);
  if (at != text.npos) repo.revision = text.substr(at + 1);
  const std::size_t slash = id.find('/');
  if (slash != id.npos) {
    repo.owner = id.substr(0, slash);
    repo.name = id.substr(slash + 1);
  }
  if (!is_repo_part(repo.owner) || !is_repo_part(repo.name) || id.size() > kIdMax) {
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("'{}' is no repository: it must be like owner/name or owner/name@revision", shown(text)));
  }
  const bool revision_is_good =
      repo.revision.size() <= kRevisionMax &&
      parts_are(repo.revision, [](std::string_view part) { return is_plain(part) && part.front() != '.'; });
  if (!revision_is_good) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is no revision of {}", shown(repo.revision), repo.id()));
  }
  return repo;
}

bool is_commit(std::string_view text) {
  return text.size() == 40 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Result<void> check_listed(std::string_view path) {
  const bool good =
      path.size() <= kPathMax &&
      std::ranges::none_of(
          path, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == 0x7f; }) &&
      parts_are(path, [](std::string_view part) { return !part.empty() && part != "." && part != ".."; });
  if (good) return {};
  return fail(ErrorCode::data_loss,
              fmt::format("the hub lists '{}', which is no path within a repository", shown(path)));
}

Result<void> check_wanted(std::string_view path) {
  TRY_VOID(check_listed(path));
  if (parts_are(path, is_plain)) return {};
  return fail(ErrorCode::data_loss,
              fmt::format("the hub lists '{}': only letters, digits and ._- are taken in a file's name",
                          shown(path)));
}

}  // namespace diffused::hub
