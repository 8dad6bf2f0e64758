//go:build !race

package main_test

// The binary is built as make build does it.
const buildEnv = "CGO_ENABLED=0"

func buildFlags() []string { return []string{"-trimpath", "-ldflags", "-s -w"} }
