#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints version.h: the release from VERSION and, in a git checkout, the commit.
set -eu
cd "$(dirname "$0")/.."
version=$(cat VERSION)
if commit=$(git -c safe.directory='*' describe --always --dirty --exclude='*' 2>/dev/null); then
    version="$version-$commit"
fi
printf '// SPDX-License-Identifier: Apache-2.0\n#pragma once\n#define BULKHEAD_VERSION "%s"\n' "$version"
