// A job's row, and the pictures that go with it: those it starts from, and those it made.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "background/background.h"
#include "jobstore/job_store.h"
#include "parameters/job_record.h"

namespace diffused::background {

// The row of a job whose pictures are kept already. Its owner, priority and keys are left to the caller.
jobstore::NewJob row_of(const JobSpec& spec);
// Keeps the pictures that the request starts from and moves it into the spec. Takes as long as the store:
// off the io threads. Errors: as BlobStore::put; overloaded when as many bytes of the user's wait as may.
Result<JobSpec> keep_inputs(const Background& background, const std::string& user, PictureRequest request);

// What went wrong with a job that failed or was cancelled; data_loss when its row cannot be read.
Error failure_of(const jobstore::Job& job);

// Removes the pictures a job started from, or those it made; without an error when they are gone.
asio::awaitable<void> drop_inputs(const Parts& parts, const std::string& spec);
asio::awaitable<void> drop_pictures(const Parts& parts, const jobstore::Job& job);

}  // namespace diffused::background
