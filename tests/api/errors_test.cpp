#include "api/errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace diffused::api {
namespace {

namespace json = boost::json;
using ::testing::Contains;

TEST(Errors, HaveAStatusForEveryCodeAndNeverOneThatClientsRetryForTheirOwnMistakes) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
    const Error error{static_cast<ErrorCode>(code), "sentence", {}, {}};
    const http::Response response = error_response(error);
    EXPECT_GE(response.status, 400);
    EXPECT_NE(response.status, 408);
    if (response.status == 409) {
      EXPECT_THAT(response.headers, Contains(std::pair("x-should-retry", "false")));
    }
    const auto body = json::parse(*response.body).at("error").as_object();
    EXPECT_EQ(body.size(), 4u);
    EXPECT_EQ(body.at("message"), "sentence");
    EXPECT_TRUE(body.at("param").is_null());
    EXPECT_FALSE(body.at("code").as_string().empty());
    EXPECT_EQ(body.at("type") == "invalid_request_error", response.status < 429);
  }
}

TEST(Errors, KeepTheirOwnWordAndField) {
  const auto error = error_object({ErrorCode::not_found, "m", "model", "model_not_found"}, 404);
  EXPECT_EQ(error.at("param"), "model");
  EXPECT_EQ(error.at("code"), "model_not_found");
}

TEST(Errors, AreReadAsTheyWereWritten) {
  for (const Error& error :
       {Error{ErrorCode::invalid_argument, "m", "clip_skip", {}}, Error{ErrorCode::unsupported, "m", "x", {}},
        Error{ErrorCode::out_of_memory, "m", {}, {}}, Error{ErrorCode::data_loss, "m", {}, "input_lost"},
        Error{ErrorCode::overloaded, "m", {}, "any_word"}, Error{ErrorCode::unavailable, "m", {}, {}},
        Error{ErrorCode::invalid_argument, "m", {}, "request_too_costly"},
        Error{ErrorCode::unavailable, "m", {}, "storage_full"}}) {
    const int status = status_of(error);
    const Error read = read_error(error_object(error, status));
    EXPECT_EQ(status_of(read), status) << error.reason;
    EXPECT_EQ(error_object(read, status), error_object(error, status));
  }
  EXPECT_EQ(read_error({}).code, ErrorCode::internal);
}

TEST(Errors, TakeTheShellsStatus) {
  const http::Response response =
      respond_to_error({ErrorCode::invalid_argument, "m", {}, {}}, 405, "/v1/models");
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(json::parse(*response.body).at("error").at("code"), "method_not_allowed");
  EXPECT_EQ(json::parse(*response.body).at("error").at("type"), "invalid_request_error");
}

TEST(Errors, KeepRetryAfterInTheRangeClientsObey) {
  const auto retry_after = [](std::chrono::milliseconds wait) {
    return error_response({ErrorCode::unavailable, "m", {}, {}, wait}).headers.at(0).second;
  };
  EXPECT_EQ(retry_after(std::chrono::milliseconds(1)), "1");
  EXPECT_EQ(retry_after(std::chrono::milliseconds(1001)), "2");
  EXPECT_EQ(retry_after(std::chrono::hours(1)), "60");
}

TEST(Errors, SayWhenToComeBackToAFullDisk) {
  const http::Response response = error_response({ErrorCode::unavailable, "m", {}, "storage_full"});
  EXPECT_EQ(response.status, 507);
  EXPECT_THAT(response.headers, Contains(std::pair("Retry-After", "5")));
}

}  // namespace
}  // namespace diffused::api
