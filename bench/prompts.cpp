// What a prompt costs before the first step, new and repeated, without pictures: ./dev bench prompts [FOLDER]
//
// New: begin (token ids, the noise of the smallest picture) and the text encoders. Repeated: begin, which
// finds the embedding by the token ids. Ends with 1 when a repeated prompt was encoded again.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "pipelines/catalog.h"

namespace {

using namespace diffused;

constexpr int kRounds = 200;
const std::string kPrompt =
    " watercolours of a small grey kitten that sleeps in front of a stone fireplace, warm light, "
    "a red carpet, a window with snow falling outside, highly detailed, soft shadows";

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

// Milliseconds until the row waits for its first step, and whether it had to be encoded.
std::pair<double, bool> ready(Pipeline& pipeline, const GenerateRequest& request) {
  const auto begin = std::chrono::steady_clock::now();
  const std::unique_ptr<Row> row = std::move(pipeline.begin(request, 0)).value();
  Row* const rows[] = {row.get()};
  const bool encodes = row->next().kind == UnitKind::encode;
  while (row->next().kind == UnitKind::encode) pipeline.run(rows);
  return {milliseconds_since(begin), encodes};
}

void print(const char* what, std::vector<double> times) {
  std::ranges::sort(times);
  std::printf("%-9s median %8.3f ms, 99 of 100 within %8.3f ms\n", what, times[times.size() / 2],
              times[times.size() * 99 / 100]);
}

}  // namespace

int main(int count, char** arguments) {
  const auto pipeline = pipelines::load_pipeline(count > 1 ? arguments[1] : "models/demo", {});
  CHECK_WITH(pipeline.has_value(), pipeline.error().message);
  std::vector<double> fresh, repeated;
  bool encoded_again = false;
  for (int round = 0; round < kRounds; ++round) {
    GenerateRequest request;
    request.prompt = std::to_string(round) + kPrompt;
    request.width = request.height = (*pipeline)->info().size_multiple;
    request.guidance_scale = 1;
    request.seeds = {1};
    const GenerateRequest resolved = (*pipeline)->resolve(request).value();
    const auto [new_ms, encoded] = ready(**pipeline, resolved);
    CHECK(encoded);
    fresh.push_back(new_ms);
    const auto [repeated_ms, again] = ready(**pipeline, resolved);
    encoded_again = encoded_again || again;
    repeated.push_back(repeated_ms);
  }
  print("new", fresh);
  print("repeated", repeated);
  return encoded_again ? 1 : 0;
}
