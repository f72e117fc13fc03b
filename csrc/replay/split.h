// When the arguments of a call do not fit in memory: the part of the batch that does.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "replay/job.h"

namespace nnprof {

struct Part {
  OpSignature signature;  // of the call that is made instead
  size_t parts = 1;       // how many such calls the recorded one is; 0: none fits
  Count bytes;            // of the part: arguments, temporaries, outputs of two calls
  std::string note;
};

Part part_that_fits(const ReplayJob& job, c10::Device device, int64_t usable_bytes);

}  // namespace nnprof
