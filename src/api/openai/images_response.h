// The JSON in which the OpenAI endpoints hand over pictures.
#pragma once

#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <vector>

#include "api/openai/image_request.h"
#include "api/picture.h"
#include "http/exchange.h"

namespace diffused::api {

// Where a stored picture can be fetched: "https://host/images/img_….png".
std::string picture_url(const ApiOptions& options, const http::Request& request,
                        const std::string& file_name);

// What every event and answer says of its pictures: size, quality, background, output_format.
json::object describe(const PictureRequest& request, const Picture& picture);

// OpenAI's usage object, all integers. Text is counted as one token for four bytes, a picture as the 16x16
// pixel patches the transformer sees: estimates for clients that add them up, not bills.
json::object usage(const PictureRequest& request, std::span<const Picture> pictures);

// What a finished request says beside its pictures: when and by which model they were made, describe(),
// usage(), timings(). `pictures` are not empty; their bytes are not looked at.
json::object images_object(std::int64_t created, const PictureRequest& request,
                           std::span<const Picture> pictures, const Timings& timings);

// Headers of every answer that holds pictures: the model that made them, the
// job's id as GET /v1/status has it, the place the job had, and in
// OpenAI's words for a rate limit how many requests the queue takes, how many more it took, and when it was
// to be empty.
std::vector<std::pair<std::string, std::string>> job_headers(const ApiOptions& options, const Ticket& ticket,
                                                             const std::string& model);
constexpr const char* kModelHeader = "x-diffused-model";

}  // namespace diffused::api
