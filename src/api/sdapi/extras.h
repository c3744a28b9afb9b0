// What A1111's "extras" are asked for with.
#pragma once

#include <string>
#include <vector>

#include "api/api.h"
#include "api/fields.h"

namespace diffused::api {

// With A1111's defaults.
struct ExtrasRequest {
  int resize_mode = 0;  // 0: by `scale`; 1: to width and height
  double scale = 2;
  int width = 512, height = 512;          // pixels
  bool crop = true;                       // to that size, which else is covered
  std::string upscaler, second_upscaler;  // empty: none
  double second_visibility = 0;           // 0 to 1: how much of the second one's picture is seen
};

// The fields of POST extra-single-image and extra-batch-images without the pictures, bound to `request`.
std::vector<Field> extras_fields(const RequestLimits& limits, ExtrasRequest& request);

}  // namespace diffused::api
