# The tools that the code is checked with are pinned in go.mod. GO is the release with the fix for CVE-2026-94440; where
# it cannot be had (no network), the one that is installed does.
GO := go1.26.9
export GOTOOLCHAIN := $(shell GOTOOLCHAIN=$(GO) go version >/dev/null 2>&1 && echo $(GO) || echo local)
export CGO_ENABLED ?= 0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BIN := bin/mailwire
FUZZTIME ?= 20000x
PREFIX ?= /usr/local
PACKAGES := $(shell go list ./... 2>/dev/null)

.PHONY: build install uninstall demo test check fuzz cross bench clean

build:
	go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/mailwire

$(BIN):
	$(MAKE) build

# Where things are installed; DESTDIR comes before it all, for who makes a package.
AT = $(DESTDIR)$(PREFIX)
UNITS := mailwire-proxy.service mailwire-proxy.socket mailwire-tap@.service
UNITS_AT = $(AT)/lib/systemd/system
USERS_AT = $(AT)/lib/sysusers.d
COMPLETION_AT = $(AT)/share/bash-completion/completions

# install takes the program that is there, and builds one only if there is none: make && sudo make install
install: $(BIN)
	install -d $(AT)/bin $(UNITS_AT) $(USERS_AT) $(COMPLETION_AT)
	install -m 755 $(BIN) $(AT)/bin/mailwire
	install -m 644 $(UNITS:%=cmd/mailwire/systemd/%) $(UNITS_AT)
	sed -i 's|@BINDIR@|$(PREFIX)/bin|' $(UNITS:%=$(UNITS_AT)/%)
	install -m 644 cmd/mailwire/systemd/mailwire.sysusers $(USERS_AT)/mailwire.conf
	$(BIN) completion bash >$(COMPLETION_AT)/mailwire
	chmod 644 $(COMPLETION_AT)/mailwire

# uninstall leaves the user, what it recorded and what was configured.
uninstall:
	rm -f $(AT)/bin/mailwire $(UNITS:%=$(UNITS_AT)/%) $(USERS_AT)/mailwire.conf $(COMPLETION_AT)/mailwire

# demo shows the main job: a mail server is talked to, captures are read, and what was recorded is printed.
demo: build
	$(BIN) demo testdata/pcap/*.pcap

# test needs neither the network nor root: a test that lacks a mail server, or a right, says so and is skipped.
test:
	go test -timeout 20m ./...

# check is what continuous integration runs before test. What takes long with real mail servers is left to test.
check: cross
	go vet ./...
	@fmt=$$(go tool gofumpt -l .) && test -z "$$fmt" || { echo "not formatted by gofumpt:" $$fmt; exit 1; }
	go tool staticcheck ./...
	go mod tidy -diff
	CGO_ENABLED=1 go test -race -short -shuffle=on -timeout 20m ./...
	$(MAKE) fuzz

# fuzz runs every fuzz target for FUZZTIME: a count of runs, as go 1.26 may call the end of a time a failure
# (golang/go#75804). FUZZTIME=10m looks for longer.
fuzz:
	@for p in $(PACKAGES); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p >/tmp/fuzz.$$$$ 2>&1 || { cat /tmp/fuzz.$$$$; exit 1; }; \
		done; \
	done; rm -f /tmp/fuzz.$$$$

# cross builds what must build without cgo, and elsewhere than on Linux.
cross:
	go build ./...
	GOOS=darwin go build -o /dev/null ./cmd/mailwire
	GOOS=windows go build -o /dev/null ./cmd/mailwire

bench:
	go test -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf bin mailwire-data mailwire-demo
