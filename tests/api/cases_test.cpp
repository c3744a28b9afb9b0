// Runs the requests written down in tests/api/cases/*.http and holds the answers against what is written
// under them.
//
//   ### What the case shows            a title, which becomes the test's name
//   POST /v1/images/generations        the request: its line, headers, an empty line and the body
//   content-type: application/json
//
//   {"prompt": "{{3*abc}}"}            {{3*abc}} is abcabcabc; {{hex:ff}} is a byte
//   >>> 200                            the status, then headers that must be there, then a JSON value that
//   the body
//   {"data": [{"seed": "<any>"}]}      must hold: of objects these members, of arrays exactly these items;
//                                      "<any>" is any value, "<none>" no such member
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <sstream>

#include "api/fixture.h"
#include "support/files.h"
#include "support/source_folder.h"

namespace diffused::api {
namespace {

struct Case {
  std::string title;
  http::Request request;
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // JSON, or empty
};

std::string expand(const std::string& text) {
  std::string result;
  std::size_t at = 0;
  while (true) {
    const std::size_t open = text.find("{{", at);
    const std::size_t close = text.find("}}", open);
    if (open == std::string::npos || close == std::string::npos) return result + text.substr(at);
    result += text.substr(at, open - at);
    const std::string macro = text.substr(open + 2, close - open - 2);
    at = close + 2;
    if (const std::size_t star = macro.find('*'); star != std::string::npos) {
      for (int i = std::stoi(macro.substr(0, star)); i > 0; --i) result += macro.substr(star + 1);
    } else if (macro.rfind("hex:", 0) == 0) {
      result += static_cast<char>(std::stoi(macro.substr(4), nullptr, 16));
    } else {
      result += "{{" + macro + "}}";
    }
  }
}

Case parse_case(const std::string& text) {
  Case parsed;
  std::istringstream lines(text);
  std::string line;
  std::getline(lines, parsed.title);
  std::getline(lines, line);
  parsed.request = ApiFixture::request(line.substr(0, line.find(' ')), line.substr(line.find(' ') + 1));
  enum { kHeaders, kBody, kAnswer } part = kHeaders;
  while (std::getline(lines, line)) {
    if (line.rfind(">>> ", 0) == 0) {
      part = kAnswer;
      parsed.status = std::stoi(line.substr(4));
    } else if (part == kHeaders && line.empty()) {
      part = kBody;
    } else if (part == kHeaders) {
      parsed.request.headers.emplace_back(line.substr(0, line.find(':')), line.substr(line.find(':') + 2));
    } else if (part == kBody) {
      parsed.request.body += parsed.request.body.empty() ? line : "\n" + line;
    } else if (parsed.body.empty() && !line.empty() && line[0] != '{' && line[0] != '[') {
      parsed.headers.emplace_back(line.substr(0, line.find(':')), line.substr(line.find(':') + 2));
    } else {
      parsed.body += line;
    }
  }
  parsed.request.body = expand(parsed.request.body);
  return parsed;
}

std::vector<Case> load_cases() {
  std::vector<Case> cases;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_folder() / "tests/api/cases"))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    const std::string text = read_file(file);
    for (std::size_t at = text.find("### "); at != std::string::npos;) {
      const std::size_t next = text.find("\n### ", at);
      cases.push_back(parse_case(text.substr(at + 4, next == std::string::npos ? next : next - at - 4)));
      at = next == std::string::npos ? next : next + 1;
    }
  }
  return cases;
}

// What is missing in `found` of what `expected` asks for, or nothing.
std::string difference(const json::value& expected, const json::value& found, const std::string& where) {
  if (expected.is_string() && expected.get_string() == "<any>") return {};
  if (const auto* members = expected.if_object()) {
    if (!found.is_object()) return where + " is no object";
    for (const auto& member : *members) {
      const auto* value = found.get_object().if_contains(member.key());
      const bool none = member.value().is_string() && member.value().get_string() == "<none>";
      if (none != (value == nullptr))
        return fmt::format("{}.{} {}", where, std::string(member.key()), none ? "is there" : "is missing");
      if (none) continue;
      std::string inside = difference(member.value(), *value, where + "." + std::string(member.key()));
      if (!inside.empty()) return inside;
    }
    return {};
  }
  if (const auto* items = expected.if_array()) {
    if (!found.is_array() || found.get_array().size() != items->size())
      return where + " is no array of that size";
    for (std::size_t i = 0; i < items->size(); ++i) {
      std::string inside = difference((*items)[i], found.get_array()[i], fmt::format("{}[{}]", where, i));
      if (!inside.empty()) return inside;
    }
    return {};
  }
  return expected == found ? ""
                           : where + " is " + json::serialize(found) + ", not " + json::serialize(expected);
}

// Whether /openapi.json names the error's code beside its status. What reaches no endpoint is left out.
bool is_documented(const http::Response& response) {
  if (response.status < 400 || response.status == 405) return true;
  const json::value body = json::parse(*response.body);
  const json::value* error = body.as_object().if_contains("error");
  if (error == nullptr || !error->is_object()) return true;
  const std::string code(error->at("code").as_string());
  return std::ranges::any_of(error_statuses(), [&](const ErrorStatus& known) {
    return known.status == response.status && known.codes.find(code) != std::string::npos;
  });
}

class HttpCase : public testing::TestWithParam<Case> {};

TEST_P(HttpCase, IsAnsweredAsWritten) {
  const Case& written = GetParam();
  ApiFixture fixture;
  const http::Response response = fixture.ask(written.request);
  EXPECT_EQ(response.status, written.status) << *response.body;
  for (const auto& [name, value] : written.headers)
    EXPECT_EQ(name == "content-type" ? response.content_type : header_of(response, name), value) << name;
  if (!written.body.empty()) {
    EXPECT_EQ(difference(json::parse(written.body), body_of(response), "body"), "") << *response.body;
  }
  EXPECT_TRUE(is_documented(response)) << response.status << *response.body;
  // Whatever happened, the next good request works.
  EXPECT_EQ(fixture.ask("POST", "/v1/images/generations", R"({"prompt": "next"})").status, 200);
}

INSTANTIATE_TEST_SUITE_P(Api, HttpCase, testing::ValuesIn(load_cases()), [](const auto& test) {
  std::string name;
  for (const char c : test.param.title) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

}  // namespace
}  // namespace diffused::api
