package store_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// smallDisk mounts one of 64 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a file system")
	}
	dir := t.TempDir()
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// occupy leaves so many octets of the disk, until free is called.
func occupy(t *testing.T, disk string, leave uint64) (free func()) {
	t.Helper()
	var stat syscall.Statfs_t
	must(t, syscall.Statfs(disk, &stat))
	ballast := filepath.Join(disk, "ballast")
	left := stat.Bavail * uint64(stat.Bsize)
	must(t, os.WriteFile(ballast, make([]byte, left-min(leave, left)), 0o600))
	return func() { must(t, os.Remove(ballast)) }
}

// never #33: a full disk stops issuance cleanly, and space starts it again.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t)
	c := store.Config{DataDir: filepath.Join(disk, "data"), Migrate: true}
	s := storetest.Open(t, c)
	for _, leave := range []uint64{0, 64 << 10, 1 << 20} {
		free := occupy(t, disk, leave)
		l := startLoad(t, s, 16)
		l.writers.Wait() // each until it had an answer of Unavailable
		eventually(t, "readiness is gone", func() bool { return s.Ping(t.Context()) != nil })
		wantKind(t, "readiness", s.Ping(t.Context()), fault.Unavailable)
		wantKind(t, "a rare write", s.AddIssuers(t.Context(), []ca.Issuer{
			{ID: "i", Certificate: make([]byte, 1<<20)},
		}), fault.Unavailable)
		l.check(t, s) // one reads on
		free()
		must(t, s.Ping(t.Context()))
		must(t, l.one(t, s))
		l.check(t, s)
	}
	var verdict string
	must(t, storetest.DB(t, s).QueryRow(`PRAGMA integrity_check`).Scan(&verdict))
	if verdict != "ok" {
		t.Errorf("the database is damaged: %s", verdict)
	}
}

func TestOpenOnAFullDisk(t *testing.T) {
	disk := smallDisk(t)
	free := occupy(t, disk, 0)
	c := store.Config{DataDir: filepath.Join(disk, "data"), Migrate: true}
	openError(t, c, fault.Unavailable, "not full")
	free()
	s := storetest.Open(t, c)
	issue(t, s, promise(t, ""))
	must(t, s.Close())
	free = occupy(t, disk, 0)
	openError(t, c, fault.Unavailable, "not full")
	free()
	must(t, storetest.Open(t, c).Ping(t.Context()))
}
