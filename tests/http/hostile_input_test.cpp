// Plays vectors.txt.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "http/raw_client.h"
#include "http/test_server.h"
#include "support/source_folder.h"

namespace diffused::http {
namespace {

struct Step {
  std::string send;
  std::string want;
};

struct Vector {
  std::string name;
  std::vector<Step> steps;
};

// Takes "{N*TEXT}" off the front of `text`, expanded; TEXT may hold such braces itself.
std::string take_repeat(std::string_view& text);

// Expands shorthands and repeats up to the closing brace of the repeat it is in, or the end.
std::string expand(std::string_view& text) {
  std::string expanded;
  while (!text.empty() && text.front() != '}') {
    if (text.starts_with("{P}") || text.starts_with("{G}")) {
      expanded +=
          text[1] == 'P' ? "POST /x HTTP/1.1\\r\\nHost: a\\r\\n" : "GET /x HTTP/1.1\\r\\nHost: a\\r\\n";
      text.remove_prefix(3);
    } else if (text.front() == '{') {
      expanded += take_repeat(text);
    } else {
      expanded += text.front();
      text.remove_prefix(1);
    }
  }
  return expanded;
}

std::string take_repeat(std::string_view& text) {
  const auto star = text.find('*');
  const int count = std::stoi(std::string(text.substr(1, star - 1)));
  text.remove_prefix(star + 1);
  const std::string piece = expand(text);
  text.remove_prefix(1);  // the brace
  std::string repeated;
  for (int i = 0; i < count; ++i)
    for (const char c : piece) repeated += c == '#' ? std::to_string(i) : std::string(1, c);
  return repeated;
}

std::string unescape(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    switch (text[++i]) {
      case 'r':
        bytes += '\r';
        break;
      case 'n':
        bytes += '\n';
        break;
      case 't':
        bytes += '\t';
        break;
      case '0':
        bytes += '\0';
        break;
      case '\\':
        bytes += '\\';
        break;
      case 'x':
        bytes += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
        i += 2;
        break;
      default:
        ADD_FAILURE() << "unknown escape in " << text;
    }
  }
  return bytes;
}

std::vector<Vector> read_vectors() {
  std::ifstream file(test::source_folder() / "tests/http/vectors.txt");
  std::vector<Vector> vectors;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    if (line.starts_with('[')) {
      vectors.push_back({line.substr(1, line.size() - 2), {}});
      continue;
    }
    auto& steps = vectors.back().steps;
    std::string_view rest = std::string_view(line).substr(5);
    if (line.starts_with("want ")) {
      steps.back().want = expand(rest);
    } else {
      if (steps.empty() || !steps.back().want.empty()) steps.emplace_back();
      steps.back().send += unescape(expand(rest));
    }
  }
  return vectors;
}

asio::awaitable<void> accept_all(Exchange& exchange) { co_await exchange.send(text_response("yes")); }

void play(const Vector& vector, std::uint16_t port) {
  SCOPED_TRACE(vector.name);
  RawClient client(port);
  bool closes = false;
  for (const auto& step : vector.steps) {
    client.send(step.send);
    std::istringstream wanted(step.want);
    for (std::string word; wanted >> word;) {
      if (word == "close") {
        closes = true;
      } else {
        // An answer to HEAD announces a body that does not come.
        const bool head = step.send.starts_with("HEAD");
        EXPECT_EQ(status_of(head ? client.head() : client.response()), std::stoi(word));
      }
    }
  }
  if (closes) {
    EXPECT_EQ(client.rest(), "");
    EXPECT_TRUE(client.closed_by_server());
  } else {
    client.send("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: last\r\n\r\n");
    const auto last = client.rest();
    EXPECT_NE(last.find("x-request-id: last"), std::string::npos) << last;
    EXPECT_EQ(last.find("HTTP/1.", 1), std::string::npos) << last;
  }
}

TEST(HostileInput, EveryVectorGetsItsVerdict) {
  TestServer server({{"GET", "/", accept_all, 0},
                     {"POST", "/", accept_all, 1000},
                     {"GET", "/{path*}", accept_all, 0},
                     {"POST", "/{path*}", accept_all, 1000}});
  const auto vectors = read_vectors();
  EXPECT_GE(vectors.size(), 100u);
  for (const auto& vector : vectors) play(vector, server.port());
}

}  // namespace
}  // namespace diffused::http
