#!/bin/bash
# From a fresh clone to a video: installs what is missing, builds, makes one video.
#
#   tools/quickstart.sh [PROMPT]
set -euo pipefail
cd "$(dirname "$0")/.."

prompt=${1:-a red sailboat drifts left on a calm sea at sunset}
video=videos/quickstart.mp4

tools/setup.sh build
[ -f build/build.ninja ] || meson setup build
ninja -C build
mkdir -p videos
build/tools/unreel generate --prompt "$prompt" --output "$video" --overwrite

cat <<END

The video is $PWD/$video
Next:
  build/tools/unreel generate --prompt "a blue train rides through the city at night" --output train.mp4
  build/tools/unreel live --prompt "$prompt" --webrtc 8080
                                       open http://127.0.0.1:8080/, watch it, type other prompts
  build/tools/unreel help              all commands
  README.md                            what the bundled model knows, and how to use the real weights
END
