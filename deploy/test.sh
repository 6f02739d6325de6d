#!/usr/bin/env bash
# Runs ../docker-compose.yml for real, unchanged, and looks at it from outside. Needs root and Debian.
#
# A dockerd of its own runs in a network namespace of its own, and a client in another one. No registry is asked: the base
# images are made from Debian's archive under the names that the files say. So two things are not as in production. The
# stage `build` of the Dockerfile does not run (it is this binary's ordinary build; here its context is checked, and the
# stage `prebuilt` takes a binary that is there), and Prometheus is Debian's.
#
# SFUMATO_BIN and SFUMATO_LOADTEST_BIN name the binaries, else they are built. SFUMATO_ROOTFS may name a tree that debootstrap made before.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "this needs root" >&2; exit 2; }
work=$(mktemp -d /tmp/sfumato-deploy.XXXXXX)
host=sfumato-host-$$ client=sfumato-client-$$
address=192.0.2.10
dockerd_pid=
# dockerd leaves these behind, wherever its data is.
left=()
for path in /etc/docker/key.json /run/containerd/s /run/containerd /run/docker/plugins /run/docker; do
  [ -e "$path" ] || left+=("$path")
done
passed=0 failed=0

# Everything that is ours, and nothing else.
clean_up() {
  set +e
  local containers mount name path
  if [ -n "$dockerd_pid" ]; then
    containers=$(docker ps -aq 2>/dev/null)
    [ -z "$containers" ] || docker rm -f $containers >/dev/null 2>&1
    kill "$dockerd_pid" 2>/dev/null
    wait "$dockerd_pid" 2>/dev/null
  fi
  for mount in $(awk -v dir="$work/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r); do umount "$mount"; done
  for name in "$client" "$host"; do ip netns del "$name" 2>/dev/null; done
  find /sys/fs/cgroup -depth -type d -path "*/sfumato-deploy-$$*" -exec rmdir {} \; 2>/dev/null
  for path in "${left[@]}"; do
    if [ -d "$path" ]; then rmdir "$path"; else rm -f "$path"; fi
  done
  rm -f "${policy:-}"
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

check() { # what it shows, command
  local what=$1
  shift
  if "$@" >"$work/check" 2>&1; then
    passed=$((passed + 1)) && echo "ok      $what"
  else
    failed=$((failed + 1)) && echo "FAILED  $what" && sed 's/^/        /' "$work/check"
  fi
}

step() { printf '== %s (%ss)\n' "$1" "$SECONDS"; }

install_tools() {
  local missing=() package
  for package in docker.io docker-compose debootstrap iptables iproute2 util-linux curl python3; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  # The package would start its own daemon.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >"$work/apt.log"
  apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
}

# A machine with Docker (192.0.2.10), and one outside of it (192.0.2.1).
make_networks() {
  ip netns add "$host" && ip netns add "$client"
  ip -n "$host" link set lo up && ip -n "$client" link set lo up
  ip -n "$host" link add outside type veth peer name inside netns "$client"
  ip -n "$host" addr add "$address/24" dev outside && ip -n "$host" link set outside up
  ip -n "$client" addr add 192.0.2.1/24 dev inside && ip -n "$client" link set inside up
}

start_dockerd() {
  # Not `ip netns exec`, which hides the cgroups.
  nsenter --net="/run/netns/$host" /usr/sbin/dockerd --data-root "$work/data" --exec-root "$work/exec" \
    --pidfile "$work/dockerd.pid" -H "unix://$work/docker.sock" --default-ulimit nofile=4096:4096 \
    --cgroup-parent "/sfumato-deploy-$$" >"$work/dockerd.log" 2>&1 &
  dockerd_pid=$!
  export DOCKER_HOST="unix://$work/docker.sock" DOCKER_CONFIG="$work/config" DOCKER_BUILDKIT=0
  export COMPOSE_PROJECT_NAME=sfumato-deploy
  local try
  for try in $(seq 100); do
    docker version >/dev/null 2>&1 && return 0
    kill -0 "$dockerd_pid" 2>/dev/null || break
    sleep 0.2
  done
  tail -20 "$work/dockerd.log" >&2
  return 1
}

docker() { /usr/bin/docker "$@"; }
compose() { /usr/bin/docker-compose "$@"; }
outside() { nsenter --net="/run/netns/$client" "$@"; }
status() { outside curl -s -m 5 -o /dev/null -w '%{http_code}' "$@"; }
says() { # status, curl's arguments
  local wanted=$1 got
  shift
  got=$(status "$@") || true
  echo "status $got, not $wanted"
  [ "$got" = "$wanted" ]
}
container() { compose ps -q sfumato; }
state() { docker inspect -f "$1" "$(container)"; }

# Tries for so many seconds.
within() {
  local seconds=$1 until
  shift
  until=$((SECONDS + seconds))
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.3
  done
}

make_images() {
  local rootfs=${SFUMATO_ROOTFS:-$work/rootfs} image binary=${SFUMATO_BIN:-target/release/sfumato}
  local swarm=${SFUMATO_LOADTEST_BIN:-target/release/sfumato-loadtest}
  [ -d "$rootfs" ] || debootstrap --variant=minbase bookworm "$rootfs" >"$work/debootstrap.log" 2>&1 ||
    { tail "$work/debootstrap.log"; exit 1; }
  tar -C "$rootfs" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude='./dev/*' -c . |
    docker import -c 'CMD ["bash"]' - debian:bookworm-slim >/dev/null

  [ -x "$binary" ] || cargo build --release --locked -p sfumato
  [ -x "$swarm" ] || cargo build --release --locked -p sfumato-loadtest
  mkdir "$work/context" && cp "$binary" "$work/context/sfumato" && cp "$swarm" "$work/context/sfumato-loadtest"
  image=$(image_of sfumato:)
  docker build -q -f deploy/Dockerfile --target prebuilt -t "$image" "$work/context" >/dev/null
  image=$(image_of sfumato-loadtest:)
  docker build -q -f deploy/Dockerfile --target prebuilt-loadtest -t "$image" "$work/context" >/dev/null

  # Laid out as the image of the name is.
  mkdir "$work/prometheus"
  (cd "$work/prometheus" && chmod 777 . && apt-get download prometheus >/dev/null 2>&1 && dpkg -x prometheus_*.deb .)
  cat >"$work/prometheus/Dockerfile" <<'END'
FROM debian:bookworm-slim
COPY usr/bin/prometheus /bin/prometheus
RUN mkdir /prometheus && chown nobody:nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
END
  image=$(image_of prom)
  docker build -q -t "$image" "$work/prometheus" >/dev/null
}

image_of() { sed -n "s/^ *image: \($1.*\)/\1/p" docker-compose.yml; }

names_what_is_missing() { # variable, another setting
  if env -u "$1" "$2" /usr/bin/docker-compose config >"$work/config.out" 2>&1; then return 1; fi
  cat "$work/config.out"
  grep -q "$1.*set it to" "$work/config.out"
}

refuses() { # what it says, docker's arguments
  local text=$1 code=0
  shift
  docker run --rm "$@" >"$work/refused" 2>&1 || code=$?
  cat "$work/refused"
  [ "$code" = 2 ] && grep -q "$text" "$work/refused"
}

# What the stage `build` copies is a workspace that cargo can read, with the files that go into the binary.
has_whole_context() {
  printf 'FROM scratch\nCOPY . /src/\nCMD ["none"]\n' >"$work/Context" || return 1
  docker build -q -f "$work/Context" -t sfumato-context . >/dev/null || return 1
  local made
  made=$(docker create sfumato-context) || return 1
  docker cp "$made:/src" "$work/source" && docker rm "$made" >/dev/null || return 1
  local file
  for file in web/index.html media/testcard.ivf media/testcard.ogg loadtest/media/clip.h264 Cargo.lock; do
    [ -s "$work/source/$file" ] || { echo "$file is missing"; return 1; }
  done
  du -sh "$work/source"
  [ ! -e "$work/source/target" ] && [ ! -e "$work/source/.git" ] || { echo "too much is copied"; return 1; }
  (cd "$work/source" && cargo metadata --locked --no-deps --format-version 1 >/dev/null)
}

is_healthy() { [ "$(state '{{.State.Health.Status}}')" = healthy ]; }

# The image's own check, asking a port where nobody listens.
notices_a_dead_port() {
  local command
  command=$(state '{{index .Config.Healthcheck.Test 3}}') || return 1
  docker exec "$(container)" bash -c "$command" || return 1
  ! docker exec -e SFUMATO_HTTP_LISTEN=0.0.0.0:1 "$(container)" bash -c "$command"
}

runs_unprivileged() {
  local ids
  ids=$(docker exec "$(container)" cat /proc/1/status | awk '/^(Uid|CapEff|NoNewPrivs):/ { print $2 }' | xargs)
  echo "uid, capabilities, no new privileges: $ids"
  [ "$ids" = "10001 0000000000000000 1" ]
}

# One candidate, with the address and the port that the outside can reach.
tells_the_address() {
  grep '^a=candidate:' "$work/answer" >"$work/candidates" || { cat "$work/answer"; return 1; }
  cat "$work/candidates"
  ! grep -qvi " udp [0-9]* $address 7882 typ host" "$work/candidates"
}

# A connectivity check through the published UDP port (RFC 8445 section 7.2): only the node can answer it.
answers_a_check() {
  outside python3 - "$address" 7882 "$1" "$work/answer" <<'END'
import hashlib, hmac, os, re, socket, struct, sys, zlib

address, port, offer, answer = sys.argv[1], int(sys.argv[2]), open(sys.argv[3]).read(), open(sys.argv[4]).read()
word = lambda text, name: re.search(f"a={name}:(\\S+)", text)[1]
name = f"{word(answer, 'ice-ufrag')}:{word(offer, 'ice-ufrag')}".encode()
password = word(answer, "ice-pwd").encode()
transaction = os.urandom(12)

def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)

def header(kind, length):
    return struct.pack("!HHI", kind, length, 0x2112A442) + transaction

body = attribute(0x0006, name) + attribute(0x0024, struct.pack("!I", 1853824767)) + attribute(0x802A, os.urandom(8))
mac = hmac.new(password, header(1, len(body) + 24) + body, hashlib.sha1).digest()
body += attribute(0x0008, mac)
crc = zlib.crc32(header(1, len(body) + 8) + body) ^ 0x5354554E
request = header(1, len(body) + 8) + body + attribute(0x8028, struct.pack("!I", crc))

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(1)
for _ in range(3):
    sock.sendto(request, (address, port))
    try:
        response, source = sock.recvfrom(2048)
    except TimeoutError:
        continue
    kind, length, cookie = struct.unpack("!HHI", response[:8])
    print(f"{kind:#06x} from {source}")
    sys.exit(not (kind == 0x0101 and response[8:20] == transaction and source == (address, port)))
sys.exit("no answer")
END
}

# The profile `loadtest`: everybody joins, sees what was sent, and says goodbye.
is_loaded_by_the_swarm() {
  compose --profile loadtest run --rm -T loadtest webinar --viewers 5 --join-over 1s --duration 5s --fail-if 'failed > 0' \
    --fail-if 'joined < 6' --fail-if 'packets < 500' --fail-if 'loss > 2%' --fail-if 'corrupted > 0'
}

in_docker() { nsenter --net="/run/netns/$host" "$@"; }
prometheus_knows() {
  in_docker curl -s -m 5 -G http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" | tee /dev/stderr | grep -q '"value":\[[0-9.]*,"1"\]'
}

# From the moment at which the node heard the signal to the end of the container.
stops_in_order() {
  local id heard code ended took
  id=$(container)
  compose --profile metrics stop >/dev/null 2>&1 || return 1
  docker logs "$id" >"$work/log" 2>&1
  tail -3 "$work/log"
  heard=$(sed -n 's/.*"timestamp":"\([^"]*\)".*"message":"stopping".*/\1/p' "$work/log")
  read -r code ended < <(docker inspect -f '{{.State.ExitCode}} {{.State.FinishedAt}}' "$id")
  took=$(($(date -d "$ended" +%s%3N) - $(date -d "$heard" +%s%3N)))
  echo "exit code $code after $took ms"
  [ "$code" = 0 ] && [ "$took" -lt 6000 ] && grep -q '"message":"stopped"' "$work/log"
}

step "tools"
install_tools
make_networks
start_dockerd
step "images"
make_images

step "what stands there"
keys=SFUMATO_AUTH_KEYS=main=$(head -c 32 /dev/urandom | sha256sum | cut -c1-64)
check "without keys, compose says what is missing" \
  names_what_is_missing SFUMATO_AUTH_KEYS "SFUMATO_MEDIA_ADVERTISE=$address"
check "without an address, compose says what is missing" \
  names_what_is_missing SFUMATO_MEDIA_ADVERTISE "$keys"
check "the image alone does not serve the world without keys" refuses "auth.keys is empty" "$(image_of sfumato:)"
check "a short key is refused by name" refuses "auth.keys = \[redacted\]" -e SFUMATO_AUTH_KEYS=main=short "$(image_of sfumato:)"
check "the context of the build is whole" has_whole_context

step "a node"
export "${keys?}" SFUMATO_MEDIA_ADVERTISE=$address
unset SFUMATO_MEDIA_PORT SFUMATO_HTTP_PORT SFUMATO_LOG_LEVEL SFUMATO_LOG_FORMAT
export SFUMATO_HTTP_REQUESTS_PER_SECOND=0 SFUMATO_HTTP_TOKEN_REQUESTS_PER_SECOND=0
offer=crates/sdp/fixtures/chromium-publish-simulcast.sdp
compose --profile metrics up -d --no-build >"$work/up.log" 2>&1 || { cat "$work/up.log"; exit 1; }
check "it becomes healthy" within 30 is_healthy
check "the health check can fail" notices_a_dead_port
check "it runs without privileges" runs_unprivileged
check "health is told outside" says 200 "http://$address:8080/healthz"
check "the page is served" says 200 "http://$address:8080/"
check "metrics are not for everyone" says 401 "http://$address:8080/metrics"
check "the listener for metrics is not published" says 000 "http://$address:9100/metrics"
whip=(-X POST -H 'Content-Type: application/sdp' --data-binary "@$offer" "http://$address:8080/whip/room")
check "publishing without a token is refused" says 401 "${whip[@]}"
token=$(compose exec -T sfumato sfumato token --room room --identity ann --publish | tr -d '\r')
created=$(outside curl -s -m 5 -o "$work/answer" -w '%{http_code}' -H "Authorization: Bearer $token" "${whip[@]}") || true
check "publishing with a token is answered with 201" [ "$created" = 201 ]
check "the answer names the advertised address and no other" tells_the_address
check "the media port answers from there" answers_a_check "$offer"
SFUMATO_LOADTEST_TOKEN=$(compose exec -T sfumato sfumato token --room '*' --publish --subscribe | tr -d '\r')
export SFUMATO_LOADTEST_TOKEN
check "the swarm loads it" is_loaded_by_the_swarm
check "Prometheus reaches the node" within 20 prometheus_knows 'up{job="sfumato"}'
check "Prometheus has its numbers" within 20 prometheus_knows 'sfumato_build_info'
check "it stops in seconds, in order" stops_in_order
compose --profile metrics down -v >/dev/null 2>&1

step "cleaning up"
trap - EXIT
clean_up
step "done"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
