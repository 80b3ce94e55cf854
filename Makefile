# zkops: everything a newcomer needs is `make demo` and `make test` (as root, on Debian 12 or 13).

# What the tests need beyond Debian's base: containers and their network for real hosts, a ZooKeeper for the
# integration tests, a linker for cargo.
PACKAGES = systemd-container mmdebstrap iproute2 nftables dbus python3 procps util-linux gcc libc6-dev pkg-config \
	default-jre-headless libzookeeper-java libslf4j-java
CARGO ?= cargo
PYTHON ?= python3
JOBS ?= 2

# What virtual machines need beyond that.
QEMU_PACKAGES = qemu-system-x86 qemu-utils e2fsprogs

# What building packages needs beyond that.
DEB_PACKAGES = build-essential debhelper dpkg-dev apt-utils gnupg
RELEASE_BIN = $(or $(ZKOPS_BIN),$(or $(CARGO_TARGET_DIR),target)/release/zkops)

.PHONY: help setup build next-build test unit-test fuzz simulation faults vm-tests vm-test demo bench images clean deb deb-setup deb-lint apt-repo \
	test-packages nix-setup nix-check qemu-setup fresh deny msrv

help:
	@echo "make demo                   boot hosts, run a service, crash a host, watch the failover (KEEP=1: leave it up)"
	@echo "make test                   unit and integration tests, then the scenarios on real hosts"
	@echo "make vm-test SCENARIO=NAME  one scenario (vm-tests/run --list); RELEASE=trixie on Debian 13, DRIVER=qemu in full VMs"
	@echo "make simulation [HISTORIES=10000] [SEED=1]"
	@echo "                               random histories of a whole cluster in memory, and what each came to"
	@echo "make faults                 plant old faults of the controller, and see that its tests find them"
	@echo "make deny                   licences, sources and duplicates of the dependencies (ADVISORIES=1: known weaknesses, too)"
	@echo "make msrv                   build with the oldest Rust that Cargo.toml promises"
	@echo "make fuzz                   change documents at random and read them (FUZZ_SECONDS=600: so long for each kind)"
	@echo "make bench                  measure, and write target/bench.json"
	@echo "make deb                    the Debian packages, in target/deb (DEB_VERSION=… for another version; deb-lint checks)"
	@echo "make apt-repo               a signed repository of them, in target/apt (ZKOPS_APT_KEY=… signs with your key)"
	@echo "make nix-check              what can be said of the Nix side without building it (ZKOPS_NIXPKGS=… says more)"
	@echo "make fresh CMD='make test'   a command on a clean clone in a Debian that has nothing yet (RELEASE=trixie)"
	@echo "make build images clean     the binary · the hosts' Debian roots · remove kept hosts and build products"

setup:
	@vm-tests/setup $(PACKAGES)
	@command -v $(CARGO) >/dev/null || { \
		echo "cargo is missing. Install Rust with rustup, then run make again:"; \
		echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env"; \
		exit 1; }

build: setup
	$(CARGO) build --locked

test: unit-test vm-tests

unit-test: setup
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked && $(CARGO) test --locked --doc; \
	else $(CARGO) test --locked; fi

# Built here, for Debian has none. The database of advisories is not part of a release of it: only with ADVISORIES=1 it is fetched.
DENY_VERSION = 0.20.2
DENY = $(or $(CARGO_TARGET_DIR),target)/tools
deny: setup
	@$(DENY)/bin/cargo-deny --version 2>/dev/null | grep -qxF "cargo-deny $(DENY_VERSION)" || \
		$(CARGO) install --quiet --debug --locked --root $(DENY) --target-dir $(DENY)/build cargo-deny@$(DENY_VERSION)
	@rm -rf $(DENY)/build
	$(DENY)/bin/cargo-deny --locked check --hide-inclusion-graph bans licenses sources
	@$(if $(ADVISORIES),$(DENY)/bin/cargo-deny --locked check --hide-inclusion-graph advisories, \
		echo "advisories: not looked at (ADVISORIES=1 fetches them)")

# The oldest Rust that builds zkops.
MSRV = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
msrv: setup
	@if rustup run $(MSRV) cargo --version || timeout 120 rustup toolchain install --profile minimal $(MSRV); then \
		CARGO_TARGET_DIR=$(or $(CARGO_TARGET_DIR),target)/msrv rustup run $(MSRV) cargo check --locked; \
	else echo "not looked at: whether Rust $(MSRV) builds zkops, for it cannot be installed here"; fi

# How long each kind of document is tried: a minute for all of them together.
FUZZ_SECONDS ?= 4
fuzz: setup
	ZKOPS_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --locked --lib -- fuzz::

# Random histories of a whole cluster, each by its seed: how many, from which one on. What does not hold is told with its seed.
HISTORIES ?= 10000
SEED ?= 1
PROFILE ?= hunt
simulation: setup
	ZKOPS_HISTORIES=$(HISTORIES) ZKOPS_SEED=$(SEED) $(CARGO) test --profile=$(PROFILE) --locked --lib -- \
		--ignored --exact --nocapture sim::histories::many::many_histories_hold

# The faults that the controller once had, planted one at a time: the random histories find each within a minute, once they are
# built, which takes some ten minutes the first time.
faults:
	@$(MAKE) --no-print-directory setup PACKAGES="git"
	tests/faults/run $(FAULTS)

vm-tests: build next-build test-packages nix-setup
	$(PYTHON) vm-tests/run --jobs $(JOBS)

# What a scenario needs beyond the build.
NEEDS_PACKAGES = install ensemble limited_agent docs
vm-test: build $(if $(filter $(NEEDS_PACKAGES),$(SCENARIO)),test-packages) $(if $(filter qemu,$(DRIVER)),qemu-setup test-packages) \
		$(if $(filter mixed_versions,$(SCENARIO)),next-build) $(if $(filter nix_units,$(SCENARIO)),nix-setup)
	$(PYTHON) vm-tests/run --scenario $(SCENARIO) $(if $(DRIVER),--driver $(DRIVER)) $(if $(RELEASE),--release $(RELEASE)) $(if $(KEEP),--keep)

# A second build, which the scenario `mixed_versions` takes for the next release. It shares all that is compiled but zkops.
next-build: setup
	$(CARGO) build --locked --features next-release --example zkops-next

demo: build
	@$(PYTHON) vm-tests/demo $(if $(KEEP),--keep)

# What is measured is the release build; `floor` is what it is measured against.
bench: setup
	$(CARGO) bench --locked --bench plan
	$(CARGO) build --locked --release --bins --example floor --example agents
	ZKOPS_BIN=target/release/zkops $(PYTHON) vm-tests/run --scenario vm-tests/bench/bench.py vm-tests/bench/rolling.py \
		vm-tests/bench/many.py vm-tests/bench/place.py

qemu-setup:
	@$(MAKE) --no-print-directory setup PACKAGES="$(PACKAGES) $(QEMU_PACKAGES)"

deb-setup:
	@$(MAKE) --no-print-directory setup PACKAGES="$(PACKAGES) $(DEB_PACKAGES)"

# Of the release build, unless ZKOPS_BIN names another. Build on Debian 12: the packages are for 13, too.
deb: deb-setup
	$(if $(ZKOPS_BIN),,$(CARGO) build --locked --release --bins)
	packaging/build-deb $(RELEASE_BIN) target/deb $(DEB_VERSION)

deb-lint:
	@$(MAKE) --no-print-directory setup PACKAGES="lintian"
	lintian --allow-root --fail-on error,warning target/deb/*.changes

apt-repo: deb
	packaging/apt-repo target/apt target/deb/*.deb

# Two builds of the packages, from the binary under test, for the scenarios that install them.
test-packages: build deb-setup
	packaging/test-packages $(or $(ZKOPS_BIN),$(or $(CARGO_TARGET_DIR),target)/debug/zkops)

# Nix itself, to evaluate with: nothing is built, no daemon runs.
nix-setup:
	@$(MAKE) --no-print-directory setup PACKAGES="nix-bin python3-venv git"

nix-check:
	nix/check

# As root, on HEAD. Finds what the packages above forget; see vm-tests/fresh.
fresh:
	@vm-tests/setup mmdebstrap git
	@vm-tests/fresh $(if $(RELEASE),--release $(RELEASE)) sh -c '$(subst ','\'',$(value CMD))'

images: setup
	$(PYTHON) vm-tests/run --images

clean:
	$(PYTHON) vm-tests/run --clean
	rm -rf target/vm-tests
	$(CARGO) clean
