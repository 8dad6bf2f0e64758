package main_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflyca/mayfly/store/storetest"
)

const (
	starts    = 5
	idleTime  = 3 * time.Second
	warmUp    = time.Second
	benchTime = 5 * time.Second
)

// BenchmarkProgram measures the real binary with fsync on, in one go, and prints tables. Clients,
// server and database share this machine.
func BenchmarkProgram(b *testing.B) {
	fmt.Printf("\n%s/%s, %d cores, fsync on, client and servers on this machine\n\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	info, err := os.Stat(binary)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(table, "stripped binary\t%.1f MB\t\n", float64(info.Size())/1e6)
	engines := []struct {
		name     string
		database func() string
	}{
		{"SQLite", func() string { return "" }},
		{"Postgres", func() string { return storetest.NewServer(b, true).Database(b) }},
	}
	for _, engine := range engines {
		ready, rss := measureStart(b, engine.database)
		fmt.Fprintf(table, "%s: empty directory to ready\t%d ms\t\n", engine.name, ready.Milliseconds())
		fmt.Fprintf(table, "%s: idle memory (RSS)\t%.1f MB\t\n", engine.name, rss/1e6)
	}
	table.Flush()

	fmt.Printf("\nCPU is of the server plus, on Postgres, all database processes. Flushes are commits of " +
		"the group\ncommit on SQLite, and pg_stat_wal.wal_sync on Postgres.\n\n")
	fmt.Fprintln(table, "engine\troad\tclients\tcerts/s\tp50 ms\tp99 ms\tCPU ms/cert\tof it server\tflushes/cert\t")
	for _, engine := range engines {
		s := newServer(b, engine.database())
		s.env = append(s.env, "MAYFLY_ACME_RESOLVER="+serveDNS(b).address)
		s.start(b)
		m := newMeter(b, s)
		r := serveResponder(b, s)
		for _, road := range []struct {
			name   string
			client func(context.Context) (func(context.Context, string) error, error)
		}{
			{"REST", func(context.Context) (func(context.Context, string) error, error) { return restRoad(b, s), nil }},
			{"ACME", func(ctx context.Context) (func(context.Context, string) error, error) {
				return acmeRoad(ctx, b, s, r)
			}},
		} {
			for _, clients := range []int{1, 16, 64} {
				got := m.measure(b, clients, road.client)
				fmt.Fprintf(table, "%s\t%s\t%d\t%.0f\t%.1f\t%.1f\t%.2f\t%.2f\t%.2f\t\n", engine.name, road.name,
					clients, got.rate, got.p50, got.p99, got.server+got.database, got.server, got.flushes)
			}
		}
		s.end(b, syscall.SIGTERM)
	}
	table.Flush()
	fmt.Println()
}

// measureStart gives the median time to ready and the memory of a server that nobody asked anything.
func measureStart(b *testing.B, database func() string) (ready time.Duration, rss float64) {
	b.Helper()
	var times []time.Duration
	for range starts {
		s := newServer(b, database())
		s.start(b)
		times = append(times, s.startup)
		<-time.After(idleTime / starts)
		rss = s.rss(b)
		s.end(b, syscall.SIGTERM)
	}
	slices.Sort(times)
	return times[len(times)/2], rss
}

func (s *server) rss(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		b.Fatalf("no VmRSS in %s", status)
	}
	kB, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kB * 1024
}

func restRoad(b *testing.B, s *server) func(context.Context, string) error {
	hc, token := newHTTPClient(s.pool(b)), s.token(b)
	return func(ctx context.Context, name string) error {
		csr, _, err := newCSR(name)
		if err != nil {
			return err
		}
		var issued restCertificate
		return s.rest(ctx, hc, token, "POST", "/api/v1/certificates", map[string]string{"csr": csr}, &issued)
	}
}

func acmeRoad(
	ctx context.Context, b *testing.B, s *server, r *responder,
) (func(context.Context, string) error, error) {
	acme, err := newACMEClient(ctx, newHTTPClient(s.pool(b)), s.directory(), r)
	return func(ctx context.Context, name string) error {
		_, err := acme.flow(ctx, name)
		return err
	}, err
}

// meter reads what a server and its database have used up.
type meter struct {
	server     *server
	postgres   *pgx.Conn // nil on SQLite
	postmaster int
	run        int
}

func newMeter(b *testing.B, s *server) *meter {
	b.Helper()
	m := &meter{server: s}
	if s.databaseURL == "" {
		return m
	}
	var err error
	if m.postgres, err = pgx.Connect(b.Context(), s.databaseURL); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.postgres.Close(context.Background()) })
	m.postmaster = parentOf(b, int(m.postgres.PgConn().PID()))
	return m
}

type figures struct {
	rate, p50, p99            float64 // per second, ms, ms
	server, database, flushes float64 // per certificate; CPU in ms
}

type reading struct{ server, database, flushes float64 }

func (m *meter) read(b *testing.B) (r reading) {
	b.Helper()
	r.server = cpuOf(b, m.server.cmd.Process.Pid, false)
	if m.postgres == nil {
		for _, found := range regexp.MustCompile(`(?m)^mayfly_store_commits_total\{.*\} (\S+)$`).
			FindAllStringSubmatch(m.server.scrape(b), -1) {
			n, err := strconv.ParseFloat(found[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			r.flushes += n
		}
		return r
	}
	r.database = cpuOf(b, m.postmaster, true)
	for _, pid := range childrenOf(b, m.postmaster) {
		r.database += cpuOf(b, pid, false)
	}
	if err := m.postgres.QueryRow(b.Context(), `SELECT wal_sync FROM pg_stat_wal`).Scan(&r.flushes); err != nil {
		b.Fatal(err)
	}
	return r
}

// measure lets clients work for a while.
func (m *meter) measure(
	b *testing.B, clients int, open func(context.Context) (func(context.Context, string) error, error),
) figures {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	m.run++
	work := make([]func(context.Context, string) error, clients)
	for c := range work {
		var err error
		if work[c], err = open(ctx); err != nil {
			b.Fatal(err)
		}
	}
	var mu sync.Mutex
	var took []time.Duration
	var measuring bool
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for n := 0; ; n++ {
				began := time.Now()
				err := work[c](ctx, fmt.Sprintf("b%d-%d-%d.bench.test", m.run, c, n))
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					b.Errorf("client %d: %v", c, err)
					return
				}
				mu.Lock()
				if measuring {
					took = append(took, time.Since(began))
				}
				mu.Unlock()
			}
		})
	}
	<-time.After(warmUp)
	before, began := m.read(b), time.Now()
	mu.Lock()
	measuring = true
	mu.Unlock()
	<-time.After(benchTime)
	mu.Lock()
	measuring = false
	mu.Unlock()
	after, seconds := m.read(b), time.Since(began).Seconds()
	cancel()
	all.Wait()
	if len(took) == 0 {
		b.Fatal("nothing was issued")
	}
	slices.Sort(took)
	n := float64(len(took))
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	return figures{
		rate: n / seconds, p50: ms(took[len(took)/2]), p99: ms(took[len(took)*99/100]),
		server: (after.server - before.server) / n, database: (after.database - before.database) / n,
		flushes: (after.flushes - before.flushes) / n,
	}
}
