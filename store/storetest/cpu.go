package storetest

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const clockTick = 10 * time.Millisecond // of the times in proc(5), on every Linux that matters

// CPU is what the server has used since it started, with all its processes. Linux only.
func (s *Server) CPU(t testing.TB) time.Duration {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	parent, ticks := make(map[string]string), make(map[string]int)
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		// Behind the name in parentheses come state, parent, and much else; of its 12th to 15th
		// field, two are the process's own time and two that of its children who ended.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid := filepath.Base(filepath.Dir(path))
		parent[pid] = fields[1]
		for _, field := range fields[11:15] {
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatalf("reading %s: %v", path, err)
			}
			ticks[pid] += n
		}
	}
	supervisor, sum := strconv.Itoa(s.cmd.Process.Pid), 0
	for pid, n := range ticks {
		for at := pid; at != ""; at = parent[at] {
			if at == supervisor {
				sum += n
				break
			}
		}
	}
	return time.Duration(sum) * clockTick
}
