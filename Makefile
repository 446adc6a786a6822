# Lockkeeper.  `make help` lists the targets.
#
# B=DIR   where to build (default build; the sanitizer builds have their own)
# T=NAME  one test, C=NAME one case of it   V=1 shows the commands

B ?= build
CC ?= gcc
Q = $(if $(V),,@)

VERSION := 0.1.0

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wcast-qual -Wvla $(if $(CI),-Werror)
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -fstack-clash-protection
OPTIMISE ?= -O2 -g
SANITIZE ?=
LUA ?= lua5.1
PACKAGES := libuv hiredis yaml-0.1 openssl jansson $(LUA)
LLHTTP_SRC ?= /usr/share/llhttp
LLHTTP_INC ?= /usr/share/include/llhttp

CPPFLAGS += -Iproxy -I$(B)/gen -D_GNU_SOURCE -DLOCKKEEPER_VERSION='"$(VERSION)"' \
            $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null) -I$(LLHTTP_INC)
CFLAGS += -std=gnu11 -pthread $(OPTIMISE) $(WARNINGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer,$(HARDEN))
LDFLAGS += -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE),-pie -Wl,-z,relro,-z,now)
LDLIBS += $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lm -ldl

SOURCES := $(filter-out proxy/app/main.c,$(wildcard proxy/*/*.c))
OBJECTS := $(SOURCES:%.c=$(B)/%.o) $(B)/gen/scripts.o $(LLHTTP:%=%)
LLHTTP_OBJECTS := $(B)/llhttp/api.o $(B)/llhttp/http.o $(B)/llhttp/llhttp.o
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/%,$(wildcard tests/unit/test_*.c))

.PHONY: all
all: $(B)/lockkeeper

$(B)/lockkeeper: $(B)/proxy/app/main.o $(B)/liblockkeeper.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/liblockkeeper.a: $(OBJECTS) $(LLHTTP_OBJECTS)
	@echo "  AR    $@"
	$(Q)rm -f $@; ar rcs $@ $^

$(B)/%.o: %.c
	@echo "  CC    $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/llhttp/%.o: $(LLHTTP_SRC)/%.c
	@echo "  CC    $<"
	@mkdir -p $(@D)
	$(Q)$(CC) -I$(LLHTTP_INC) -std=gnu11 $(OPTIMISE) $(if $(SANITIZE),-fsanitize=$(SANITIZE),$(HARDEN)) -c -o $@ $<

# The scripts of lua/ as C strings.
$(B)/gen/scripts.c: $(wildcard lua/*.lua) tests/lint/embed_scripts.awk
	@mkdir -p $(@D)
	$(Q)awk -f tests/lint/embed_scripts.awk $(sort $(wildcard lua/*.lua)) > $@.new && mv $@.new $@

$(B)/gen/scripts.o: $(B)/gen/scripts.c
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(B)/test_%: tests/unit/test_%.c $(B)/liblockkeeper.a
	@echo "  TEST  $@"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP $(LDFLAGS) -o $@ $< $(B)/liblockkeeper.a -lcmocka $(LDLIBS)

# One unit test program: make unit T=arena [C=case]
.PHONY: unit
unit: $(if $(T),$(B)/test_$(T),$(UNIT_TESTS))
	$(Q)for t in $^; do CMOCKA_TEST_FILTER='$(C)' $$t || exit 1; done

.PHONY: clean
clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
