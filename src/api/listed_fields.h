// The list of a request's fields (parameters/request_fields.h) as tables that read JSON and forms.
#pragma once

#include <string_view>
#include <vector>

#include "api/api.h"
#include "api/fields.h"
#include "job/job.h"
#include "parameters/request_fields.h"

namespace diffused::api {

// All of them in the list's order, bound to `generate`. `with_picture`: whether those that mean something
// only with a picture to start from are among them.
std::vector<Field> listed_fields(const RequestLimits& limits, GenerateRequest& generate, bool with_picture);

// The list's bounds as this server sets them.
FieldLimits field_limits(const RequestLimits& limits);

// The one of that name out of a table, as a dialect with words of its own has it: called `word`, without
// aliases and never required. Precondition: it is there.
Field renamed(const std::vector<Field>& table, std::string_view name, std::string_view word,
              std::string_view description);

}  // namespace diffused::api
