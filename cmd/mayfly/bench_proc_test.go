package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The kernel counts CPU time in these (sysconf(_SC_CLK_TCK), 100 on every Linux that Go runs on).
const tickMS = 10

// stat reads the fields of /proc/pid/stat behind the name, which may hold anything.
func stat(b *testing.B, pid int) []string {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil // it has just ended
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// cpuOf gives the CPU milliseconds of a process, or of its ended children too.
func cpuOf(b *testing.B, pid int, ended bool) (ms float64) {
	b.Helper()
	fields := stat(b, pid)
	if fields == nil {
		return 0
	}
	counted := fields[11:13] // utime, stime
	if ended {
		counted = fields[11:15] // cutime, cstime
	}
	for _, field := range counted {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			b.Fatal(err)
		}
		ms += n * tickMS
	}
	return ms
}

func parentOf(b *testing.B, pid int) int {
	b.Helper()
	fields := stat(b, pid)
	if fields == nil {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		b.Fatal(err)
	}
	return parent
}

func childrenOf(b *testing.B, parent int) (pids []int) {
	b.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err == nil && parentOf(b, pid) == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}
