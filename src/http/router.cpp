#include "http/router.h"

#include <algorithm>
#include <set>

#include "base/check.h"

namespace diffused::http {

Router::Router(std::vector<Route> routes) : routes_(std::move(routes)) {
  for (const auto& route : routes_) {
    entries_.push_back({compile(route.pattern), &route});
    for (const auto& alias : route.aliases) entries_.push_back({compile(alias), &route});
  }
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return shape(a) < shape(b); });
  const auto twin = std::adjacent_find(entries_.begin(), entries_.end(),
                                       [](const Entry& a, const Entry& b) { return shape(a) == shape(b); });
  CHECK_WITH(twin == entries_.end(), twin->route->method + " " + twin->route->pattern + " stands twice");
}

std::vector<Router::Segment> Router::compile(std::string_view pattern) {
  CHECK_WITH(pattern.starts_with('/'), std::string(pattern));
  std::vector<Segment> segments;
  while (!pattern.empty()) {
    pattern.remove_prefix(1);
    const auto text = pattern.substr(0, pattern.find('/'));
    pattern.remove_prefix(text.size());
    if (text.empty()) continue;
    if (!text.starts_with('{'))
      segments.push_back({Segment::Kind::literal, std::string(text)});
    else if (text.ends_with("*}"))
      segments.push_back({Segment::Kind::rest, std::string(text.substr(1, text.size() - 3))});
    else
      segments.push_back({Segment::Kind::parameter, std::string(text.substr(1, text.size() - 2))});
  }
  return segments;
}

// Sorts the more specific first, and is equal for two entries that would serve the same requests.
std::string Router::shape(const Entry& entry) {
  std::string shape;
  for (const auto& segment : entry.pattern) {
    shape += static_cast<char>('0' + static_cast<int>(segment.kind));
    if (segment.kind == Segment::Kind::literal) shape += segment.text;
    shape += '/';
  }
  return shape + ' ' + entry.route->method;
}

bool Router::match(const std::vector<Segment>& pattern, const std::vector<std::string>& segments,
                   std::map<std::string, std::string>& parameters) {
  std::size_t i = 0;
  for (const auto& part : pattern) {
    if (i == segments.size()) return false;
    switch (part.kind) {
      case Segment::Kind::literal:
        if (segments[i++] != part.text) return false;
        break;
      case Segment::Kind::parameter:
        parameters[part.text] = segments[i++];
        break;
      case Segment::Kind::rest: {
        std::string& rest = parameters[part.text];
        rest = segments[i++];
        while (i < segments.size()) rest += "/" + segments[i++];
        break;
      }
    }
  }
  return i == segments.size();
}

Router::Lookup Router::find(std::string_view method, const std::vector<std::string>& segments) const {
  Lookup lookup;
  std::set<std::string> allowed;
  for (const auto& entry : entries_) {
    std::map<std::string, std::string> parameters;
    if (!match(entry.pattern, segments, parameters)) continue;
    const auto& served = entry.route->method;
    allowed.insert({served, "OPTIONS"});
    if (served == "GET") allowed.insert("HEAD");
    const bool serves = served == method || (served == "GET" && method == "HEAD");
    if (!serves || lookup.route != nullptr) continue;
    lookup.route = entry.route;
    lookup.parameters = std::move(parameters);
  }
  lookup.allowed.assign(allowed.begin(), allowed.end());
  return lookup;
}

}  // namespace diffused::http
