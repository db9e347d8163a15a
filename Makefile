# memkv: what one does with it, by name. `make help` lists the targets.
#
# Black-box targets run any server that takes redis-server's command line: SERVER=/usr/bin/redis-server make compat
# tests the tests. Without SERVER they build and use memkv in the profile `quick`.

CARGO    ?= cargo
PYTHON   ?= python3
QUICK    := target/quick/memkv-server
SERVER   ?= $(QUICK)
SECONDS  ?= 60
SEED     ?= 1
KILLS    ?= 200
FILES    ?=
JOBS     ?=
ARGS     ?=
WORK     ?=
FRESH    ?= /var/tmp/memkv-fresh
BOOT     ?= /var/tmp/memkv-boot
ONLY     ?=
PEER     ?=
ROUNDS   ?=
SCALE    ?=
PEERS    ?=
LOAD     := $(CARGO) bench --bench load --
# Where `make install` puts things; BINARY is what it installs, built if it is the default.
PREFIX   ?= /usr/local
DESTDIR  ?=
SYSCONFDIR ?= /etc
STATEDIR ?= /var/lib
UNITDIR  ?= $(PREFIX)/lib/systemd/system
RELEASE  := target/release/memkv-server
BINARY   ?= $(RELEASE)
VERSION  := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# What a release tells of its source: INFO, --version, /metrics.
COMMIT   := $(shell git rev-parse --short=8 HEAD 2>/dev/null || echo 00000000)
DIRTY    := $(shell test -z "$$(git status --porcelain 2>/dev/null)" && echo 0 || echo 1)
STAMP    := MEMKV_COMMIT=$(COMMIT) MEMKV_DIRTY=$(DIRTY)
BENCH_ARGS = $(if $(ONLY),--only "$(ONLY)") $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCALE),--scale $(SCALE)) \
	$(if $(PEERS),--peers $(PEERS)) $(ARGS)

.DEFAULT_GOAL := help

# Only the target named on the command line decides whether memkv must be built first.
ifeq ($(SERVER),$(QUICK))
SERVER_BUILT := $(QUICK)
endif

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run:  ## build memkv and start it on port 6379 of every address; without a password it lets in local clients only: ARGS="--port 6380"
	$(STAMP) $(CARGO) run --release -- $(ARGS)

test: ## unit, integration and repository tests, then the fast black-box ones; says first what it would install
	@scripts/oracles.sh missing
	$(CARGO) test
	$(MAKE) compat-fast replication-fast suite-fast SERVER=target/debug/memkv-server

fresh: ## a bare Debian root by debootstrap with a Rust toolchain, and in it make run and make test: FRESH=DIRECTORY
	scripts/fresh-root.sh $(FRESH)

check: ## formatting, clippy without a warning, the repository's rules
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test --test tidy
	$(PYTHON) -m compileall -q compat/suite compat/differential compat/crash compat/exchange compat/clients compat/apps compat/harness compat/operation compat/replication compat/run.py

compat: oracles $(SERVER_BUILT) ## every client library and tool, the differential, against SERVER
	$(PYTHON) compat/run.py --server $(SERVER) $(ARGS)

compat-fast: oracles $(SERVER_BUILT) ## the part of compat that takes seconds
	$(PYTHON) compat/run.py --server $(SERVER) --fast $(ARGS)

crash: oracles $(SERVER_BUILT) ## power cuts at every point, a failing disk, orderly ends, random scripts, then a kill -9 loop with a ledger: KILLS=200 SEED=1
	rm -rf target/power-cut-samples
	POWER_SAMPLES=$(CURDIR)/target/power-cut-samples POWER_CUTS=8 POWER_SEED=$(SEED) $(CARGO) test --test power_cut -- --nocapture
	$(PYTHON) compat/crash/samples.py --server $(SERVER) target/power-cut-samples
	$(PYTHON) compat/crash/faults.py --server $(SERVER)
	$(PYTHON) compat/crash/ends.py --server $(SERVER) --seed $(SEED)
	$(PYTHON) compat/crash/scripts.py --server $(SERVER) --scripts 4000 --seed $(SEED)
	$(PYTHON) compat/crash/loop.py --server $(SERVER) --kills $(KILLS) --seed $(SEED) $(ARGS)

fuzz-scripts: oracles $(SERVER_BUILT) ## random Lua on SERVER and real servers, for longer than crash does it: SECONDS=60 SEED=1
	$(PYTHON) compat/crash/scripts.py --server $(SERVER) --seconds $(SECONDS) --seed $(SEED)

replication: oracles $(SERVER_BUILT) ## replication, FAILOVER, Sentinel, with real servers on the other side: PEER=redis-8.2 ONLY=way-in SECONDS=60 ROUNDS=3 SEED=1
	$(PYTHON) compat/replication/run.py --server $(SERVER) $(if $(PEER),--peer $(PEER)) $(if $(ONLY),--only "$(ONLY)") $(if $(ROUNDS),--rounds $(ROUNDS)) --seconds $(SECONDS) --seed $(SEED) $(ARGS)

replication-fast: oracles ## the part of it that every change runs
	$(PYTHON) compat/replication/run.py --server $(SERVER) --fast --retries 2 $(ARGS)

diff: oracles $(SERVER_BUILT) ## random command sequences on SERVER and real servers: SECONDS=60 SEED=1
	$(PYTHON) compat/differential/diff.py --server $(SERVER) --seconds $(SECONDS) --seed $(SEED) $(ARGS)

exchange: oracles $(SERVER_BUILT) ## values, snapshots and logs to real servers and back; damage; the file checkers: SEED=1
	$(PYTHON) compat/exchange/exchange.py --server $(SERVER) --seed $(SEED) $(ARGS)
	$(PYTHON) compat/exchange/check.py --server $(SERVER) --seed $(SEED)

introspect: oracles $(SERVER_BUILT) ## what SERVER says in COMMAND, CONFIG and INFO, against real servers
	$(PYTHON) compat/differential/introspect.py --server $(SERVER) $(ARGS)

suite: oracles $(SERVER_BUILT) ## Redis's own test suite: FILES="unit/type/string unit/expire", JOBS=2
	$(PYTHON) compat/suite/run.py --server $(SERVER) $(if $(JOBS),--jobs $(JOBS)) $(ARGS) $(FILES)

suite-fast: oracles $(SERVER_BUILT) ## the part of the suite that every change runs
	$(PYTHON) compat/suite/run.py --server $(SERVER) --fast $(ARGS)

suite-valkey: oracles $(SERVER_BUILT) ## Valkey 9.1.2's own test suite: FILES="unit/type/hash unit/expire"
	@scripts/oracles.sh valkey
	$(PYTHON) compat/suite/run.py --runner valkey --server $(SERVER) $(if $(JOBS),--jobs $(JOBS)) $(ARGS) $(FILES)

suite-sentinel: oracles $(SERVER_BUILT) ## Redis's Sentinel tests
	$(PYTHON) compat/suite/run.py --runner sentinel --server $(SERVER) $(ARGS) $(FILES)

suite-cluster: oracles $(SERVER_BUILT) ## Redis's Cluster tests
	$(PYTHON) compat/suite/run.py --runner cluster --server $(SERVER) $(ARGS) $(FILES)

bench: oracles ## criterion on the hot core, then everything beside real servers; says whether the machine is busy: WORK=all ONLY= ROUNDS=5 SCALE=1 PEERS=8.2,valkey
	$(if $(WORK)$(ONLY),,$(LOAD) machine && $(CARGO) bench --bench core)
	$(LOAD) compare --work $(or $(WORK),all) $(BENCH_ARGS)

bench-quick: oracles ## GET, SET and MGET beside real servers, in a few minutes; narrowed like bench
	$(LOAD) compare --work $(or $(WORK),core) --rounds 2 --scale 0.25 $(BENCH_ARGS)

bench-tls: oracles ## CPU of TLS beside Debian's redis-server, and of a user with rules: ROUNDS=3 SCALE=1
	$(CARGO) build --release
	compat/work/venv/bin/python benches/secure.py --server $(RELEASE) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCALE),--scale $(SCALE))

instructions: ## instructions per command of GET and SET, against the recorded ones; UPDATE=1 records
	scripts/instructions.sh

sanitize: ## address and thread sanitizer, and Miri where it is installed, over the unsafe core: needs a nightly toolchain
	scripts/sanitize.sh

doc: ## the source's own pages
	$(CARGO) doc --no-deps

$(RELEASE): FORCE
	$(STAMP) $(CARGO) build --release --bin memkv-server

release: $(RELEASE) ## the optimised binary, and archives of it for x86-64-v3, any x86-64 and aarch64, as far as this machine can build them, in target/dist
	ln -sf memkv-server target/release/memkv-check-aof
	ln -sf memkv-server target/release/memkv-check-rdb
	$(STAMP) CARGO="$(CARGO)" dist/release.sh $(VERSION) $(TARGETS)

install: $(if $(filter $(RELEASE),$(BINARY)),$(RELEASE)) ## the server, its tools, manual, completions, unit and configuration: PREFIX=/usr/local DESTDIR= BINARY=
	BINARY="$(abspath $(BINARY))" DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" STATEDIR="$(STATEDIR)" UNITDIR="$(UNITDIR)" dist/install.sh

deb: $(if $(filter $(RELEASE),$(BINARY)),$(RELEASE)) ## a Debian package in target/dist: BINARY=
	mkdir -p target/dist
	dist/debian/build.sh "$(abspath $(BINARY))" $(VERSION) target/dist

boot: deb ## the package's service in a small Debian that systemd-nspawn boots: BOOT=DIRECTORY BINARY=
	scripts/boot.sh $(BOOT) target/dist/memkv-server_$(VERSION)_$(shell dpkg --print-architecture 2>/dev/null).deb

oracles: ## fetch what the black-box tests compare with (quick when it is there)
	@scripts/oracles.sh

$(QUICK): FORCE
	$(CARGO) build --profile quick --bin memkv-server

FORCE:

.PHONY: help run test fresh check compat compat-fast install deb boot crash fuzz-scripts replication replication-fast diff exchange introspect suite suite-fast suite-valkey suite-sentinel suite-cluster bench bench-tls \
	bench-quick instructions sanitize doc release oracles FORCE
