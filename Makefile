# Everything a developer types. `make help` lists it.

SHELL       := /bin/bash
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TESTFLAGS   ?= -race
FUZZTIME    ?= 20s
GOLANGCI    := go tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: help run build test lint fmt fuzz cover bench

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

run: ## start a CA in ./mayfly-data
	go run ./cmd/mayfly serve

build: ## make the static, stripped binary bin/mayfly
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" \
		-o bin/mayfly ./cmd/mayfly

# The test programs start servers and foreign ACME clients, so nothing here may be skipped: what is
# missing is installed by tools/setup, or named by it.
test: ## install what the tests need, then run all of them, and each fuzz target for 3 s
	tools/setup
	MAYFLY_TEST_POSTGRES=required MAYFLY_TEST_CLIENTS=required \
		go test $(TESTFLAGS) -timeout 10m ./...
	tools/fuzz 3s

lint: ## formatting, go vet, golangci-lint (with staticcheck)
	go vet ./...
	$(GOLANGCI) run ./...

fmt: ## format the code as lint wants it
	$(GOLANGCI) fmt ./...

fuzz: ## run each fuzz target for FUZZTIME (20s)
	tools/fuzz $(FUZZTIME)

cover: ## run the tests and show how much of each package they reach
	go test -timeout 10m -coverpkg=./... -coverprofile=coverage.out ./...
	go tool cover -func=coverage.out | tail -n 1

bench: ## measure the real binary on SQLite and Postgres, fsync on
	tools/setup
	MAYFLY_TEST_POSTGRES=required go test -run '^$$' -bench . -benchtime 1x -timeout 30m ./cmd/mayfly
