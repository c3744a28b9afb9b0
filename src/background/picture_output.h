// Where finished pictures go: they become files, which are kept.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "parameters/job_record.h"
#include "parameters/picture_file.h"
#include "storage/blob_store.h"

namespace diffused::background {

// What becomes of a finished picture before it is handed over.
enum class PictureStage { encode_image, store };

// Both functions: any thread but an io thread.
struct PictureOutput {
  storage::BlobStore& images;
  const Clock& clock;
  PictureTexts texts = PictureTexts::written;
  // Told how long a stage of a picture of that model took; must not block; null: nobody counts.
  std::function<void(std::string_view model, PictureStage, double seconds)> stage_finished = {};

  // Encodes a picture as the request asks for it. Errors: as Codec::encode.
  Result<Picture> encode(const PictureRequest& request, const Recipe& recipe, std::uint64_t seed,
                         const Image& image) const;
  // Keeps a picture under an id. Takes as long as the disk. Errors: as BlobStore::put.
  Result<void> store(std::string_view model, const std::string& id, const storage::Blob& blob) const;
};

}  // namespace diffused::background
