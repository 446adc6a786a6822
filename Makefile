# Lockkeeper.  `make help` lists the targets.
#
# B=DIR   where to build (default build; the sanitizer builds have their own)
# T=NAME  one test, C=NAME one case of it   V=1 shows the commands

B ?= build
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
Q = $(if $(V),,@)

VERSION := 0.1.0
PREFIX ?= /usr/local
PYTHON ?= /usr/bin/python3
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 60

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wcast-qual -Wvla $(if $(CI),-Werror)
OPTIMISE ?= $(if $(SANITIZE),-O1,-O3) -g
# FORTIFY needs the optimiser.
HARDEN := $(if $(findstring -O0,$(OPTIMISE)),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE \
          -fstack-clash-protection
SANITIZE ?=
# The program is optimised as a whole; the objects can be linked without that too, as the tests are.
LTO ?= $(if $(SANITIZE)$(findstring clang,$(CC)),,-flto=auto)
SANITIZE_FLAGS := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer \
                  $(if $(findstring undefined,$(SANITIZE)),-fno-sanitize-recover=undefined))
LUA ?= lua5.1
PACKAGES := libuv hiredis yaml-0.1 openssl jansson zlib $(LUA)
LLHTTP_SRC ?= /usr/share/llhttp
LLHTTP_INC ?= /usr/share/include/llhttp

CPPFLAGS += -Iproxy -I$(B)/gen -D_GNU_SOURCE -DLOCKKEEPER_VERSION='"$(VERSION)"' \
            $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null) -I$(LLHTTP_INC)
LTO_OBJECTS := $(if $(LTO),$(LTO) -ffat-lto-objects)
CFLAGS += -std=gnu11 -pthread $(OPTIMISE) $(WARNINGS) $(if $(SANITIZE),$(SANITIZE_FLAGS),$(HARDEN))
LDFLAGS += -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE),-pie -Wl,-z,relro,-z,now)
LDLIBS += $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lm -ldl

SOURCES := $(filter-out proxy/app/main.c,$(wildcard proxy/*/*.c))
OBJECTS := $(SOURCES:%.c=$(B)/%.o) $(B)/gen/scripts.o
LLHTTP_OBJECTS := $(B)/llhttp/api.o $(B)/llhttp/http.o $(B)/llhttp/llhttp.o
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/%,$(wildcard tests/unit/test_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))

.DELETE_ON_ERROR:
.PHONY: all
all: $(B)/lockkeeper  ## build build/lockkeeper (the default)

$(B)/lockkeeper: $(B)/proxy/app/main.o $(B)/liblockkeeper.a
	@echo "  LD    $@"
	$(Q)$(CC) $(OPTIMISE) $(LTO) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/liblockkeeper.a: $(OBJECTS) $(LLHTTP_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@; ar rcs $@ $^

$(B)/%.o: %.c | $(B)/have_deps
	@echo "  CC    $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO_OBJECTS) -MMD -MP -c -o $@ $<

$(B)/llhttp/%.o: $(LLHTTP_SRC)/%.c | $(B)/have_deps
	@echo "  CC    $<"
	@mkdir -p $(@D)
	$(Q)$(CC) -I$(LLHTTP_INC) -std=gnu11 $(OPTIMISE) $(if $(SANITIZE),$(SANITIZE_FLAGS),$(HARDEN)) \
	    $(LTO_OBJECTS) -c -o $@ $<

# When a package is missing there is no rule for its file: say what to do instead of how it broke.
$(LLHTTP_SRC)/%.c: | $(B)/have_deps
	@:

# The scripts of lua/ as C strings.
$(B)/gen/scripts.c: $(wildcard lua/*.lua) tests/lint/embed_scripts.awk
	@mkdir -p $(@D)
	$(Q)awk -f tests/lint/embed_scripts.awk $(sort $(wildcard lua/*.lua)) > $@.new && mv $@.new $@

$(B)/gen/scripts.o: $(B)/gen/scripts.c | $(B)/have_deps
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO_OBJECTS) -c -o $@ $<

# Made once per build directory, before the first compilation.
$(B)/have_deps:
	@command -v pkg-config >/dev/null && command -v $(firstword $(CC)) >/dev/null \
	    && pkg-config --exists $(PACKAGES) && test -e $(LLHTTP_SRC)/llhttp.c \
	    || { echo 'lockkeeper: not everything that the build needs is installed; run: make deps' >&2; \
	         for p in $(PACKAGES); do pkg-config --exists $$p || echo "  missing: the development files of $$p"; done >&2; \
	         test -e $(LLHTTP_SRC)/llhttp.c || echo '  missing: $(LLHTTP_SRC)/llhttp.c (package node-llhttp)' >&2; \
	         exit 1; }
	@mkdir -p $(@D) && touch $@

# ---- running it -------------------------------------------------------------------------------

.PHONY: deps
deps:  ## install the Debian packages that are missing (DEPS=run|test|bench|deploy)
	@.ci/deps $(or $(DEPS),test)

.PHONY: run
run:  ## build, and start the demo service with Lockkeeper in front of it
	@.ci/deps run
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(PYTHON) tests/demo/run.py $(B)/lockkeeper

.PHONY: demo-seckill
demo-seckill:  ## 1,000 buyers, 100 things: a sale without a lock, and with one
	@.ci/deps run
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(PYTHON) tests/demo/seckill.py $(B)/lockkeeper

.PHONY: install
install: all  ## install to $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/lockkeeper/policies
	install -D -m 644 deploy/man/lockkeeper.8 $(DESTDIR)$(PREFIX)/share/man/man8/lockkeeper.8
	install -D -m 644 deploy/completion/lockkeeper.bash \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/lockkeeper
	install -m 755 $(B)/lockkeeper $(DESTDIR)$(PREFIX)/bin/lockkeeper
	install -m 644 README.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/lockkeeper
	cp -R policies/. $(DESTDIR)$(PREFIX)/share/doc/lockkeeper/policies

.PHONY: uninstall
uninstall:  ## take it out of $(DESTDIR)$(PREFIX) again
	rm -f $(DESTDIR)$(PREFIX)/bin/lockkeeper $(DESTDIR)$(PREFIX)/share/man/man8/lockkeeper.8 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/lockkeeper
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/lockkeeper

.PHONY: image
image:  ## a container image, localhost/lockkeeper, by podman (BASE=IMAGE: of Debian 12; ARCH=arm64)
	@BASE='$(BASE)' ARCH='$(ARCH)' deploy/image.sh $(IMAGE)

.PHONY: deb
deb: all  ## a Debian package in $(B)
	@deploy/debian/build.sh $(B)/lockkeeper $(B)

# ---- testing it -------------------------------------------------------------------------------

.PHONY: test
test:  ## everything; ends with "N passed, N failed".  make test T=arena [C=case]: one unit test
	@.ci/deps test
ifdef T
	@$(MAKE) --no-print-directory -j$(JOBS) unit T=$(T) C=$(C)
else
	@$(PYTHON) tests/run_tests.py $(if $(filter-out file,$(origin FUZZ_SECONDS)),--fuzz-seconds $(FUZZ_SECONDS),$(if \
	    $(CI),--fuzz-total-seconds 180,--fuzz-seconds 10))
endif

.PHONY: test-unit
test-unit:  ## the unit tests
	@$(PYTHON) tests/run_tests.py --parts unit

.PHONY: test-system
test-system:  ## the system tests; K=EXPRESSION picks some
	@$(PYTHON) tests/run_tests.py --parts system $(if $(K),-k '$(K)')

.PHONY: test-conformance
test-conformance:  ## HTTP, byte by byte; K=EXPRESSION picks some
	@$(PYTHON) tests/run_tests.py --parts conformance $(if $(K),-k '$(K)')

.PHONY: conformance-peers
conformance-peers:  ## the same cases against nginx and HAProxy too: a table
	@.ci/deps bench
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@LOCKKEEPER=$(abspath $(B)/lockkeeper) $(PYTHON) tests/conformance/peers.py

.PHONY: test-faults
test-faults:  ## locks while things break around them; K=EXPRESSION picks some
	@$(PYTHON) tests/run_tests.py --parts faults $(if $(K),-k '$(K)')

.PHONY: soak-locks
soak-locks:  ## the safety checker of locks, then chaos, for SOAK_SECONDS (60) each
	@.ci/deps test
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@LOCKKEEPER=$(abspath $(B))/lockkeeper LOCK_SOAK_SECONDS=$(or $(SOAK_SECONDS),60) $(PYTHON) -m pytest -q -s \
	    -p no:cacheprovider tests/faults/test_lock_safety.py tests/faults/test_lock_chaos.py

.PHONY: test-chaos
test-chaos:  ## clients and a service that do everything wrong, at full speed, under AddressSanitizer
	@$(PYTHON) tests/run_tests.py --parts chaos

.PHONY: soak-chaos
soak-chaos:  ## the same for CHAOS_SECONDS (300); CHAOS_SEED=N repeats what connections do
	@.ci/deps test
	@$(MAKE) --no-print-directory -j$(JOBS) B=$(B)/asan SANITIZE=address,undefined all
	@LOCKKEEPER=$(abspath $(B))/asan/lockkeeper LOCKKEEPER_BUILD=asan CHAOS_SECONDS=$(or $(CHAOS_SECONDS),300) \
	    CHAOS_SEED=$(CHAOS_SEED) $(PYTHON) -m pytest -q -s -p no:cacheprovider tests/chaos

.PHONY: soak-operations
soak-operations:  ## 1,000 reloads and 100 restarts while clients ask without a pause
	@.ci/deps test
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@LOCKKEEPER=$(abspath $(B))/lockkeeper OPERATIONS_RELOADS=1000 OPERATIONS_RESTARTS=100 $(PYTHON) -m pytest -q -s \
	    -p no:cacheprovider tests/system/test_change_under_load.py

.PHONY: test-deploy
test-deploy: all  ## image, pods, manifests, dashboards; slow; skips, and says so, what has no tool here
	@LOCKKEEPER=$(abspath $(B))/lockkeeper $(PYTHON) -m pytest -q -rs -p no:cacheprovider --tb=short \
	    $(if $(K),-k '$(K)') tests/deploy

.PHONY: dashboard-picture
dashboard-picture: all  ## deploy/grafana/dashboard.png: the dashboard's panels after a minute and a half of load
	@LOCKKEEPER=$(abspath $(B))/lockkeeper $(PYTHON) tests/deploy/picture.py

.PHONY: asan
asan:  ## unit and system tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(PYTHON) tests/run_tests.py --parts unit-asan,system-asan

.PHONY: tsan
tsan:  ## unit and system tests under ThreadSanitizer
	@$(PYTHON) tests/run_tests.py --parts unit-tsan,system-tsan

.PHONY: valgrind
valgrind:  ## the unit tests under valgrind
	@$(PYTHON) tests/run_tests.py --parts valgrind

.PHONY: fuzz
fuzz:  ## every fuzzer for FUZZ_SECONDS, two at a time
	@$(PYTHON) tests/run_tests.py --parts fuzz --fuzz-seconds $(FUZZ_SECONDS)

# Seeds with a name stay; what is added is named by its hash.
.PHONY: fuzz-seeds
fuzz-seeds:  ## to tests/fuzz/corpus, the few inputs found by make fuzz that cover what no seed there does
	$(Q)for f in $(notdir $(FUZZERS)); do \
	    $(B)/fuzz/$$f -set_cover_merge=1 -use_counters=0 -timeout=60 tests/fuzz/corpus/$$f $(B)/fuzz/corpus/$$f || exit 1; done

.PHONY: model
model:  ## the model of a lock, all its states, and a simulation of sidecars and their store
	@.ci/deps test
	@$(PYTHON) tests/run_tests.py --parts model,simulation

.PHONY: test-fresh
test-fresh:  ## make test and make run in a fresh Debian 12 root filesystem
	@tests/fresh.sh

.PHONY: bench
bench:  ## beside nginx and HAProxy, one worker each
	@.ci/deps bench
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(PYTHON) tests/bench/bench.py --lockkeeper $(B)/lockkeeper $(BENCH)

.PHONY: bench-scrape
bench-scrape:  ## what a scrape of /metrics costs the requests that run meanwhile
	@.ci/deps bench
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(PYTHON) tests/bench/scrape.py --lockkeeper $(B)/lockkeeper $(BENCH)

.PHONY: profile
profile:  ## instructions, system calls and allocations of one request
	@.ci/deps bench
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@$(PYTHON) tests/bench/profile.py --lockkeeper $(B)/lockkeeper $(PROFILE)

# One unit test program: make unit T=arena [C=case]
.PHONY: unit
unit: $(if $(T),$(B)/test_$(T),$(UNIT_TESTS))
	$(Q)for t in $^; do TEST_CASE='$(C)' $$t || exit 1; done

.PHONY: unit-programs fuzz-programs
unit-programs: $(UNIT_TESTS)
fuzz-programs: $(FUZZERS)

$(B)/test_%: tests/unit/test_%.c $(B)/tests/unit/pick_case.o $(B)/liblockkeeper.a
	@echo "  TEST  $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -O1 -MMD -MP -MF $@.d -MT $@ $(LDFLAGS) $(if $(LTO),-fno-lto) -o $@ $< $(B)/tests/unit/pick_case.o \
	    $(B)/liblockkeeper.a -lcmocka $(LDLIBS)

# Needs CC=clang and SANITIZE with fuzzer-no-link; tests/run_tests.py knows how.
$(B)/fuzz_%: tests/fuzz/fuzz_%.c $(B)/liblockkeeper.a
	@echo "  FUZZ  $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP -MF $@.d -MT $@ $(LDFLAGS) -fsanitize=fuzzer -o $@ $< \
	    $(B)/liblockkeeper.a $(LDLIBS)

# The simulation of tests/model.
MODEL_SOURCES := tests/model/simulate_locks.c tests/model/lock_clients.c tests/model/lock_mirror.c
$(B)/simulate_locks: $(MODEL_SOURCES) $(wildcard tests/model/*.h) $(B)/liblockkeeper.a
	@echo "  TEST  $@"
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $(MODEL_SOURCES) $(B)/liblockkeeper.a $(LDLIBS)

# ---- keeping it in shape ----------------------------------------------------------------------

C_FILES = $(wildcard proxy/*/*.[ch] tests/*/*.[ch])

.PHONY: lint
lint:  ## layers, lengths, unique tags, cppcheck
	@tests/lint/lint.sh

.PHONY: format
format:  ## let clang-format have its way with the C files
	clang-format -i $(C_FILES)

.PHONY: clean
clean:  ## remove what was built
	rm -rf $(B)

.PHONY: help
help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

-include $(shell find $(B) -name '*.d' 2>/dev/null)
