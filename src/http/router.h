// The route table: which Route serves a method and a path. Immutable after construction; const methods from
// any thread.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "http/exchange.h"

namespace diffused::http {

class Router {
 public:
  // CHECKs that every pattern starts with '/' and that no method and pattern stand twice.
  explicit Router(std::vector<Route> routes);

  struct Lookup {
    const Route* route = nullptr;                   // null: refuse
    std::map<std::string, std::string> parameters;  // of the matched pattern
    // The methods some route serves at this path, with HEAD and OPTIONS, sorted. Empty: there is no such
    // path.
    std::vector<std::string> allowed;
  };

  // Literal segments win over parameters, parameters over {rest*}. HEAD finds the GET route.
  // `segments` are decoded (Target::segments).
  Lookup find(std::string_view method, const std::vector<std::string>& segments) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  struct Segment {
    enum class Kind { literal, parameter, rest } kind;
    std::string text;  // the literal, or the parameter's name
  };
  struct Entry {
    std::vector<Segment> pattern;
    const Route* route;
  };

  static std::vector<Segment> compile(std::string_view pattern);
  static std::string shape(const Entry& entry);
  static bool match(const std::vector<Segment>& pattern, const std::vector<std::string>& segments,
                    std::map<std::string, std::string>& parameters);

  std::vector<Route> routes_;
  std::vector<Entry> entries_;  // the most specific first
};

}  // namespace diffused::http
