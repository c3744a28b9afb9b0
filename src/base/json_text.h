// JSON as it leaves the program.
#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace diffused {

// The value on one line, UTF-8, numbers in their shortest form: Boost's own writer prints 4.0 as 4E0 and 0.1
// as 1E-1. What JSON has no word for, NaN and infinity, becomes null, and bytes that are no UTF-8 become
// U+FFFD. Any thread.
std::string json_text(const boost::json::value& value);

}  // namespace diffused
