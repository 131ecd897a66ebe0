#!/bin/bash
# From a fresh clone to a video: installs what is missing, builds, makes one video.
#
#   tools/quickstart.sh [PROMPT]
set -euo pipefail
cd "$(dirname "$0")/.."

prompt=${1:-a red sailboat drifts left on a calm sea}
video=videos/quickstart.mp4

tools/setup.sh build
[ -f build/build.ninja ] || meson setup build
ninja -C build
mkdir -p videos
build/tools/unreel generate --prompt "$prompt" --output "$video" --overwrite

if [ -d models/postcard ]; then
    model="the bundled model"
else
    model="the random weights of the tests: the video is noise, no model is bundled yet"
fi
cat <<END

The video is $PWD/$video ($model).
Next:
  build/tools/unreel generate --prompt "another prompt" --output another.mp4
  build/tools/unreel help generate     all options
  README.md                            how to get and use the real weights
END
