#pragma once

#include "runner.h"

namespace mvkit {

// Throws UsageFailure, which names the option.
Options parse_options(int argc, char** argv);

}  // namespace mvkit
