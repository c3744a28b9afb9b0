#include "api/keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <charconv>
#include <optional>
#include <span>

#include "api/errors.h"
#include "base/ascii.h"
#include "image/base64.h"

namespace diffused::api {
namespace {

constexpr std::string_view kSpaces = " \t\r";
constexpr std::string_view kAlgorithm = "sha256:";
constexpr std::string_view kPriority = "priority=", kAlias = "alias=", kOperator = "operator";

// So many wrong keys from one address within this time may be mistakes; each one more is answered later.
constexpr int kMistakes = 5;
constexpr auto kGuessMemory = std::chrono::minutes(1);
constexpr std::chrono::milliseconds kHeldBackStep{100}, kHeldBackMax{2'000};
constexpr std::size_t kGuessersMax = 4'096;  // addresses remembered

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

bool is_name(std::string_view text) {
  const auto good = [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '_' || c == '-'; };
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), good);
}

// The value of a hexadecimal digit, or -1.
int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool read_hex(std::string_view text, std::span<unsigned char> bytes) {
  if (text.size() != 2 * bytes.size()) return false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int high = digit_of(text[2 * i]);
    const int low = digit_of(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i] = static_cast<unsigned char>(high << 4 | low);
  }
  return true;
}

bool is_priority(int number) { return number >= -kPriorityMax && number <= kPriorityMax; }

// The first word of a line, taken off it with the spaces behind it.
std::string_view take_word(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find_first_of(kSpaces));
  line = trimmed(line.substr(word.size()));
  return word;
}

bool read_priority(std::string_view word, int& priority) {
  if (!word.starts_with(kPriority)) return false;
  word.remove_prefix(kPriority.size());
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), priority);
  return error == std::errc() && end == word.data() + word.size() && is_priority(priority);
}

// "alias=NAME=MODEL": the model is what stands behind the second sign, whatever it holds.
bool read_alias(std::string_view word, std::map<std::string, std::string>& aliases) {
  if (!word.starts_with(kAlias)) return false;
  word.remove_prefix(kAlias.size());
  const std::size_t equals = std::min(word.find('='), word.size());
  const std::string_view name = word.substr(0, equals),
                         model = word.substr(std::min(equals + 1, word.size()));
  return !name.empty() && !model.empty() && aliases.emplace(name, model).second;
}

bool is_word(std::string_view text) {
  return !text.empty() && text.find_first_of(" \t\r\n#") == std::string_view::npos;
}

// The words behind a key's hash. Whether each is one of those that there are.
bool read_options(std::string_view line, KeyHolder& holder) {
  while (!line.empty()) {
    const std::string_view word = take_word(line);
    if (word == kOperator)
      holder.is_operator = true;
    else if (!read_priority(word, holder.priority) && !read_alias(word, holder.aliases))
      return false;
  }
  return true;
}

// What follows the scheme's name in an Authorization header, or nothing.
std::optional<std::string_view> after_scheme(std::string_view header, std::string_view scheme) {
  const std::string_view start = header.substr(0, scheme.size());
  if (!iequals(start, scheme)) return {};
  if (header.size() <= scheme.size() || header[scheme.size()] != ' ') return {};
  return trimmed(header.substr(scheme.size() + 1));
}

std::optional<std::string> shown_key(const http::Request& request, KeyScheme scheme) {
  const std::string_view authorization = request.header("authorization");
  if (const auto key = after_scheme(authorization, "Bearer")) return std::string(*key);
  if (const auto key = request.header("api-key"); !key.empty()) return std::string(key);
  if (scheme != KeyScheme::basic) return {};
  const auto coded = after_scheme(authorization, "Basic");
  if (!coded) return {};
  const auto pair = from_base64(*coded);
  if (!pair) return {};
  const std::size_t colon = pair->find(':');
  return colon == std::string::npos ? *pair : pair->substr(colon + 1);
}

}  // namespace

Result<KeyRing> KeyRing::parse(std::string_view text) {
  KeyRing ring;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line = trimmed(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    Entry entry{{std::string(take_word(line))}, {}};
    const std::string_view hash = take_word(line);
    if (!is_name(entry.holder.name) || hash.substr(0, kAlgorithm.size()) != kAlgorithm ||
        !read_hex(hash.substr(kAlgorithm.size()), entry.digest) || !read_options(line, entry.holder))
      return fail(ErrorCode::invalid_argument,
                  fmt::format("line {} is not of the form NAME {}64 hexadecimal digits [{}{} to {}] [{}] "
                              "[{}NAME=MODEL]…",
                              number, kAlgorithm, kPriority, -kPriorityMax, kPriorityMax, kOperator, kAlias));
    ring.entries_.push_back(std::move(entry));
  }
  if (ring.entries_.empty()) return fail(ErrorCode::invalid_argument, "there is no key in it");
  return ring;
}

KeyRing::Digest KeyRing::digest_of(std::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

const KeyHolder* KeyRing::holder_of(std::string_view key) const {
  const Digest digest = digest_of(key);
  const KeyHolder* holder = nullptr;
  for (const Entry& entry : entries_)
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) holder = &entry.holder;
  return holder;
}

std::map<std::string, std::string> KeyRing::aliases_of(std::string_view holder) const {
  std::map<std::string, std::string> aliases;
  for (const Entry& entry : entries_)
    if (entry.holder.name == holder) aliases.insert(entry.holder.aliases.begin(), entry.holder.aliases.end());
  return aliases;
}

Result<std::string> key_line(const KeyHolder& holder, std::string_view key) {
  if (!is_name(holder.name))
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' cannot name a key: use letters, digits, '.', '_' and '-', at most 64",
                            holder.name));
  if (!is_priority(holder.priority))
    return fail(ErrorCode::invalid_argument,
                fmt::format("a key's priority is {} to {}", -kPriorityMax, kPriorityMax));
  std::string line =
      fmt::format("{} {}{:02x}", holder.name, kAlgorithm, fmt::join(KeyRing::digest_of(key), ""));
  if (holder.priority != 0) line += fmt::format(" {}{}", kPriority, holder.priority);
  for (const auto& [name, model] : holder.aliases) {
    if (!is_word(name) || !is_word(model) || name.find('=') != std::string::npos)
      return fail(
          ErrorCode::invalid_argument,
          fmt::format("'{}={}' cannot be an alias: it has the form NAME=MODEL, without blanks", name, model));
    line += fmt::format(" {}{}={}", kAlias, name, model);
  }
  if (holder.is_operator) line += fmt::format(" {}", kOperator);
  return line;
}

std::chrono::milliseconds WrongKeys::note(const std::string& peer, SteadyTime now) {
  const std::lock_guard lock(mutex_);
  if (counts_.size() >= kGuessersMax && !counts_.contains(peer)) {
    std::erase_if(counts_, [&](const auto& entry) { return now - entry.second.since >= kGuessMemory; });
    if (counts_.size() >= kGuessersMax) return kHeldBackMax;  // so many at once are no mistakes
  }
  Count& count = counts_[peer];
  if (count.keys == 0 || now - count.since >= kGuessMemory) count = {now, 0};
  const int guesses = ++count.keys - kMistakes;
  return std::clamp(guesses * kHeldBackStep, std::chrono::milliseconds(0), kHeldBackMax);
}

void Keys::replace(KeyRing ring) {
  auto fresh = std::make_shared<const KeyRing>(std::move(ring));
  const std::lock_guard lock(mutex_);
  ring_.swap(fresh);
}

std::shared_ptr<const KeyRing> Keys::ring() const {
  const std::lock_guard lock(mutex_);
  return ring_;
}

std::optional<KeyHolder> Keys::holder_of(std::string_view key) const {
  const auto now = ring();
  const KeyHolder* holder = now->holder_of(key);
  return holder != nullptr ? std::optional(*holder) : std::nullopt;
}

std::map<std::string, std::string> Keys::aliases_of(std::string_view holder) const {
  return ring()->aliases_of(holder);
}

http::Gate key_gate(std::shared_ptr<const Keys> keys, KeyScheme scheme, const Clock& clock) {
  if (!keys) return nullptr;
  return [keys, scheme, &clock](http::Request& request) -> std::optional<http::Response> {
    const auto key = shown_key(request, scheme);
    if (auto holder = key ? keys->holder_of(*key) : std::nullopt) {
      request.user = std::move(holder->name);
      request.priority = holder->priority;
      request.is_operator = holder->is_operator;
      return std::nullopt;
    }
    // OpenAI's words, by which litellm tells a wrong key from other mistakes.
    const Error error{
        ErrorCode::unauthorized,
        key ? "Incorrect API key provided" : "an API key is needed: send it as Authorization: Bearer KEY",
        {}};
    http::Response response = respond_to_error(error, status_of(error), request.path);
    if (key) response.held_back = keys->wrong_keys().note(request.peer, clock.now());
    response.headers.emplace_back("WWW-Authenticate",
                                  scheme == KeyScheme::basic ? "Basic realm=\"diffused\"" : "Bearer");
    return response;
  };
}

bool is_operator(const http::Request& request, const Keys* keys) {
  if (keys != nullptr) return request.is_operator;
  boost::system::error_code no_address;
  const auto peer = boost::asio::ip::make_address(request.peer, no_address);
  const bool forwarded = !request.header("x-forwarded-for").empty() || !request.header("forwarded").empty();
  return !no_address && peer.is_loopback() && !forwarded;
}

const std::string& user_of(const http::Request& request) { return request.owner(); }

std::string model_meant(const Keys* keys, const std::string& user, const std::string& name) {
  if (keys == nullptr) return name;
  const auto aliases = keys->aliases_of(user);
  const auto alias = aliases.find(name);
  return alias == aliases.end() ? name : alias->second;
}

}  // namespace diffused::api
