// In which words the databases differ.
#pragma once

#include <string>

namespace diffused::jobstore {

enum class Dialect { sqlite, postgresql };

// What differs between the databases. Leases end by a clock that nobody sets, people see the time of day, and
// what is kept goes by neither: setting the clock must not end it. A database that many share has its own
// time.
struct Words {
  std::string now_seconds;
  std::string now_milliseconds;
  std::string lifetime_seconds;
  std::string tick_milliseconds;
  std::string integer_key;
  std::string integer;
  std::string real;
  std::string table_end;
};

inline Words words_of(Dialect dialect) {
  if (dialect == Dialect::sqlite)
    return {"now_seconds()",
            "now_milliseconds()",
            "lifetime_seconds()",
            "tick_milliseconds()",
            "INTEGER PRIMARY KEY AUTOINCREMENT",
            "INTEGER",
            "REAL",
            "STRICT"};
  return {"extract(epoch from clock_timestamp())::bigint",
          "(extract(epoch from clock_timestamp()) * 1000)::bigint",
          "extract(epoch from clock_timestamp())::bigint",
          "(extract(epoch from clock_timestamp()) * 1000)::bigint",
          "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
          "bigint",
          "double precision",
          "WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01)"};
}

}  // namespace diffused::jobstore
