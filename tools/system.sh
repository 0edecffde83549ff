#!/usr/bin/env bash
# What streamcab needs from Debian, installed where that is allowed, else named: tools/system.sh venv|run|test
set -eu

declare -A why=(
  [python3-venv]="the virtual environment that everything else goes into"
  [libportaudio2]="microphones"
  [pulseaudio]="the tests' virtual microphone"
  [pulseaudio-utils]="playing into the virtual microphone"
  [libasound2-plugins]="PortAudio's way to PulseAudio"
  [tmux]="the tests' real terminal"
  [ffmpeg]="the tests' RTP sender"
  [gstreamer1.0-tools]="the tests' other RTP sender"
  [gstreamer1.0-plugins-base]="its audio conversion and Opus"
  [gstreamer1.0-plugins-good]="its RTP and UDP"
  [gstreamer1.0-libav]="its G.722"
  [mosquitto]="the tests' MQTT broker"
  [iproute2]="the tests' networks of their own, whose links go down"
  [rtpengine-daemon]="the tests' rtpengine, in userspace"
  [icecast2]="the tests' Icecast"
  [python3-gi]="the tests' RTSP server, which Debian's Python runs"
  [gir1.2-gst-rtsp-server-1.0]="that server"
  [sox]="the tests' recordings through a pipe"
  [postgresql]="the tests' PostgreSQL: a cluster of their own"
  [redis-server]="the tests' Redis"
  [nats-server]="the tests' NATS"
  [chromium]="the tests' browser"
  [chromium-driver]="the tests' way to drive it"
  [sip-tester]="sipp: the tests' 300 telephone calls"
)

have() {
  case $1 in
    python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    libportaudio2) ldconfig -p 2>/dev/null | grep -q libportaudio.so.2 ;;
    tmux | ffmpeg | pulseaudio | mosquitto | sox | icecast2) command -v "$1" >/dev/null ;;
    pulseaudio-utils) command -v pacat >/dev/null ;;
    iproute2) command -v ip >/dev/null ;;
    postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ;;
    redis-server | nats-server) command -v "$1" >/dev/null ;;
    sip-tester) command -v sipp >/dev/null ;;
    chromium) command -v chromium >/dev/null ;;
    chromium-driver) command -v chromedriver >/dev/null ;;
    gstreamer1.0-tools) command -v gst-launch-1.0 >/dev/null ;;
    *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
  esac
}

case ${1-} in
  venv) wanted=(python3-venv) ;;
  run) wanted=(libportaudio2) ;;
  test) wanted=(libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins tmux ffmpeg gstreamer1.0-tools
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav sip-tester mosquitto iproute2 sox
    rtpengine-daemon icecast2 python3-gi gir1.2-gst-rtsp-server-1.0
    postgresql redis-server nats-server chromium chromium-driver) ;;
  *) echo "usage: $0 venv|run|test" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do have "$package" || missing+=("$package"); done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "streamcab wants these packages from Debian:"
for package in "${missing[@]}"; do echo "  $package: ${why[$package]}"; done

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  # Ask for a password only where somebody can give one.
  if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then as_root=(sudo); else as_root=(no); fi
fi
if ! command -v apt-get >/dev/null || [ "${as_root[0]-}" = no ]; then
  echo "They cannot be installed from here. As an administrator, type:"
  echo "  apt-get install --no-install-recommends ${missing[*]}"
  # A missing virtual environment stops everything; the rest only what it is for.
  [ "$1" != venv ] || exit 1
  exit 0
fi
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
# The package lists may be old or absent.
install 2>/dev/null || { "${as_root[@]}" apt-get update -qq && install; } || {
  echo "apt-get could not install ${missing[*]}; going on without" >&2
  [ "$1" != venv ] || exit 1
}
