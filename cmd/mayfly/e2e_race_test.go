//go:build race

package main_test

// The binary has the race detector if the tests have it. That needs cgo.
const buildEnv = "CGO_ENABLED=1"

func buildFlags() []string { return []string{"-race"} }
