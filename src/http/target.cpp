#include "http/target.h"

#include <algorithm>
#include <boost/url/pct_string_view.hpp>

#include "base/utf8.h"

namespace diffused::http {
namespace {

namespace urls = boost::urls;

auto bad_target(const char* message) {
  return refuse(400, ErrorCode::invalid_argument, "bad_target", message);
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Calls visit(piece) for each piece between separators, empty ones too.
template <typename Visit>
void split(std::string_view text, char separator, Visit visit) {
  while (true) {
    const auto end = text.find(separator);
    visit(text.substr(0, end));
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

// Decodes percent-encoding; empty optional when it is malformed or hides bytes that no name should hold.
std::optional<std::string> decode(std::string_view text, bool plus_is_space) {
  const auto encoded = urls::make_pct_string_view(text);
  if (!encoded) return std::nullopt;
  urls::encoding_opts options;
  options.space_as_plus = plus_is_space;
  std::string decoded = encoded->decode(options);
  if (!is_utf8(decoded) || decoded.find('\0') != std::string::npos) return std::nullopt;
  return decoded;
}

bool leaves_its_folder(std::string_view segment) {
  bool leaves = false;
  split(segment, '/', [&](std::string_view piece) { leaves |= piece == ".."; });
  return leaves;
}

Checked<void> parse_path(std::string_view text, Target& target) {
  bool well_formed = true;
  split(text, '/', [&](std::string_view piece) {
    if (piece.empty()) return;
    auto segment = decode(piece, false);
    well_formed = well_formed && segment && !leaves_its_folder(*segment) &&
                  segment->find('\\') == std::string::npos &&
                  std::none_of(segment->begin(), segment->end(), is_control);
    if (well_formed) target.segments.push_back(std::move(*segment));
  });
  if (!well_formed) return bad_target("The path holds bytes or segments that are not served.");
  for (const auto& segment : target.segments) target.path += "/" + segment;
  if (target.path.empty()) target.path = "/";
  return {};
}

Checked<void> parse_query(std::string_view text, Target& target) {
  bool well_formed = true;
  split(text, '&', [&](std::string_view piece) {
    if (piece.empty()) return;
    const auto equals = std::min(piece.find('='), piece.size());
    auto key = decode(piece.substr(0, equals), true);
    auto value = decode(piece.substr(std::min(equals + 1, piece.size())), true);
    well_formed = well_formed && key && value;
    if (well_formed) target.query[std::move(*key)] = std::move(*value);
  });
  if (!well_formed) return bad_target("The query is not valid percent-encoded UTF-8.");
  return {};
}

}  // namespace

Checked<Target> parse_target(std::string_view text) {
  Target target;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!text.starts_with(scheme)) continue;
    text.remove_prefix(scheme.size());
    const auto end = std::min(text.find_first_of("/?"), text.size());
    if (end == 0) return bad_target("The request target names no host.");
    target.authority = text.substr(0, end);
    text.remove_prefix(end);
    if (text.empty()) text = "/";
    break;
  }
  if (text.empty() || (text.front() != '/' && target.authority.empty()) ||
      text.find('#') != std::string_view::npos)
    return bad_target("The request target must be a path.");

  const auto query = std::min(text.find('?'), text.size());
  if (auto path = parse_path(text.substr(0, query), target); !path) return tl::unexpected(path.error());
  if (query < text.size())
    if (auto parsed = parse_query(text.substr(query + 1), target); !parsed)
      return tl::unexpected(parsed.error());
  return target;
}

}  // namespace diffused::http
