#include "hub/environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <iterator>

namespace diffused::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTokenMax = 4096;
constexpr int kStallSecondsMax = 24 * 3600;

fs::path home_folder(const Variables& variables) {
  if (const auto home = variables("HF_HOME")) return *home;
  if (const auto cache = variables("XDG_CACHE_HOME")) return fs::path(*cache) / "huggingface";
  return fs::path(variables("HOME").value_or(".")) / ".cache/huggingface";
}

std::string without_blanks(const std::string& text) {
  constexpr const char* kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

// It becomes a header's value, so nothing but visible characters is taken.
Result<std::string> read_token(const Variables& variables) {
  std::string source = "HF_TOKEN", token;
  if (const auto set = variables("HF_TOKEN")) {
    token = without_blanks(*set);
  } else {
    const auto named = variables("HF_TOKEN_PATH");
    const fs::path file = named ? fs::path(*named) : home_folder(variables) / "token";
    std::ifstream stream(file, std::ios::binary);
    token.resize(kTokenMax + 1);
    stream.read(token.data(), static_cast<std::streamsize>(token.size()));
    token.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, stream.gcount())));
    token = without_blanks(token);
    source = file.string();
  }
  const bool good =
      token.size() <= kTokenMax && std::ranges::all_of(token, [](char c) { return c > 0x20 && c < 0x7f; });
  if (!good) return fail(ErrorCode::invalid_argument, fmt::format("{} holds no token of the hub", source));
  return token;
}

}  // namespace

fs::path cache_folder(const Variables& variables) {
  if (const auto cache = variables("HF_HUB_CACHE")) return *cache;
  return home_folder(variables) / "hub";
}

Result<Environment> read_environment(const Variables& variables) {
  Environment environment;
  environment.cache = cache_folder(variables);
  environment.endpoint = variables("HF_ENDPOINT").value_or("https://huggingface.co");
  while (environment.endpoint.ends_with('/')) environment.endpoint.pop_back();
  if (!environment.endpoint.starts_with("https://") && !environment.endpoint.starts_with("http://"))
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("HF_ENDPOINT is '{}', but must begin with https:// or http://", environment.endpoint));
  TRY(environment.token, read_token(variables));
  if (const auto offline = variables("HF_HUB_OFFLINE")) {
    std::string word = *offline;
    std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
    environment.offline = word == "1" || word == "true" || word == "yes" || word == "on";
  }
  if (const auto timeout = variables("HF_HUB_DOWNLOAD_TIMEOUT")) {
    int seconds = 0;
    const auto [end, error] = std::from_chars(timeout->data(), timeout->data() + timeout->size(), seconds);
    if (error != std::errc() || end != timeout->data() + timeout->size() || seconds < 1 ||
        seconds > kStallSecondsMax)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("HF_HUB_DOWNLOAD_TIMEOUT is '{}', but must be a count of seconds", *timeout));
    environment.stall_timeout = std::chrono::seconds(seconds);
  }
  return environment;
}

}  // namespace diffused::hub
