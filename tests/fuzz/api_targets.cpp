// What clients ask for, and what servers tell each other.
#include "api/fixture.h"
#include "api/json_body.h"
#include "api/keys.h"
#include "api/sdapi/infotext.h"
#include "api/sdapi/prompt_tags.h"
#include "api/sdapi/styles.h"
#include "background/model_announcement.h"
#include "base/check.h"
#include "base/json_text.h"
#include "base/utf8.h"
#include "fuzz/targets.h"
#include "parameters/job_record.h"

namespace diffused::fuzz {
namespace {

// The text up to the next line's end, and past it.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\n'), rest.size());
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

}  // namespace

// "POST /v1/images/generations", a Content-Type, and the body: through the table of routes to an answer.
void endpoint(std::string_view bytes) {
  const std::string_view first = take_line(bytes);
  const std::size_t space = first.find(' ');
  if (space == std::string_view::npos || !http::parse_target(first.substr(space + 1))) return;
  api::ApiFixture fixture;
  // Small, as what a fuzzer asks for is made.
  fixture.api.options.limits.side_max = 256;
  fixture.api.options.limits.upload = {512, 64 * 1024};
  http::Request request =
      api::ApiFixture::request(std::string(first.substr(0, space)), std::string(first.substr(space + 1)));
  request.headers.emplace_back("content-type", take_line(bytes));
  request.body = bytes;
  http::FakeExchange exchange(fixture.io, std::move(request));
  fixture.run(exchange);
  CHECK(exchange.response || exchange.stream_headers);
  CHECK_WITH(!exchange.response || exchange.response->status != 500, *exchange.response->body);
}

void json_body(std::string_view bytes) {
  const auto object = api::parse_object(bytes);
  if (!object) return;
  // What is written can be read, though not to the bit: 4.0 is written as 4, and Boost reads to the last
  // digit but one.
  const std::string text = json_text(*object);
  CHECK(is_utf8(text) && api::parse_object(text));
}

void prompt_tags(std::string_view bytes) {
  const auto prompt = api::take_tags(bytes);
  CHECK(prompt.text == api::without_tags(bytes) && prompt.text.size() <= bytes.size());
  for (const LoraChoice& lora : prompt.loras) CHECK(!lora.name.empty());
}

void styles(std::string_view bytes) {
  const auto styles = api::parse_styles(bytes);
  if (!styles) return;
  for (const api::SdStyle& style : *styles)
    CHECK(!style.name.empty() && !api::styled(style.prompt, "a kitten").empty());
}

void infotext(std::string_view bytes) {
  for (const auto& [key, value] : api::parse_infotext(bytes)) CHECK(value.is_string());
}

void job_row(std::string_view bytes) {
  const auto spec = read_spec(std::string(bytes));
  if (!spec) return;
  const std::string text = write_spec(*spec);
  const auto again = read_spec(text);
  CHECK(again && write_spec(*again) == text);
}

void model_note(std::string_view bytes) {
  const auto model = background::read_model(std::string(bytes));
  if (!model) return;
  const std::string text = background::write_model(*model);
  const auto again = background::read_model(text);
  CHECK(again && background::write_model(*again) == text);
}

void key_file(std::string_view bytes) {
  const auto ring = api::KeyRing::parse(bytes);
  if (ring) CHECK(ring->holder_of("no such key") == nullptr);
}

}  // namespace diffused::fuzz
