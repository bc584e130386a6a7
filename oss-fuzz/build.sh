#!/bin/bash -eu
# Licensed under the MIT license or the Apache License, Version 2.0
# (http://www.apache.org/licenses/LICENSE-2.0), at your option.

exec bash -eu .clusterfuzzlite/build.sh
