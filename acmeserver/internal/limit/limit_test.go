package limit_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyca/mayfly/acmeserver/internal/limit"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// Whatever the sequence of events: within any stretch of time no key gets more than its burst and
// what the rate gives in that time, whoever waits as long as he was told is let in, and the number of
// buckets is bounded.
func TestNeverTooMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := limit.Rate{
			Count: rapid.IntRange(1, 20).Draw(t, "count"),
			Per:   time.Duration(rapid.IntRange(1, 100).Draw(t, "seconds")) * time.Second,
		}
		special := limit.Rate{Count: 3, Per: time.Minute}
		const keys = 5
		l := limit.New(r, map[string]limit.Rate{"0": special}, keys)
		admitted := make(map[string][]time.Time)
		now := noon
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			key := fmt.Sprint(rapid.IntRange(0, keys-1).Draw(t, "key"))
			peeked := l.Wait(key, now)
			wait := l.Take(key, now)
			if peeked != wait {
				t.Fatalf("Wait says %s and Take %s", peeked, wait)
			}
			if wait == 0 {
				admitted[key] = append(admitted[key], now)
			} else if l.Wait(key, now.Add(wait)) != 0 || l.Wait(key, now.Add(wait-1)) == 0 {
				t.Fatalf("%s is not how long to wait", wait)
			}
			if l.Len() > keys {
				t.Fatalf("%d buckets are kept", l.Len())
			}
		}
		for key, times := range admitted {
			r := l.Of(key)
			for i := range times {
				for j := i; j < len(times); j++ {
					most := float64(r.Count) + float64(r.Count)*times[j].Sub(times[i]).Seconds()/r.Per.Seconds()
					if float64(j-i+1) > most+1e-9 {
						t.Fatalf("%d events in %s at %s", j-i+1, times[j].Sub(times[i]), r)
					}
				}
			}
		}
	})
}

// A client that keeps to the rate is never refused, and the burst is there at once, and again after
// the whole time.
func TestEnough(t *testing.T) {
	r := limit.Rate{Count: 7, Per: time.Minute} // does not divide
	l := limit.New(r, nil, 10)
	for round := range 3 {
		now := noon.Add(time.Duration(round) * (time.Minute + time.Microsecond))
		for i := range r.Count {
			if wait := l.Take("a", now); wait != 0 {
				t.Errorf("round %d: event %d has to wait %s", round, i, wait)
			}
		}
		if l.Take("a", now) == 0 {
			t.Errorf("round %d: one too many", round)
		}
	}
}

// Strangers with ever new keys neither fill our memory nor lift the limit of one who is over his.
func TestMemoryIsBounded(t *testing.T) {
	const capacity = 100
	l := limit.New(limit.Rate{Count: 10, Per: time.Hour}, nil, capacity)
	l.Take("looping", noon)
	for i := range 10_000 {
		if i == capacity/2 {
			for range 9 {
				l.Take("looping", noon)
			}
		}
		l.Take(fmt.Sprint("stranger ", i), noon)
		if l.Len() > capacity {
			t.Fatalf("%d buckets are kept", l.Len())
		}
	}
	if l.Take("looping", noon) == 0 {
		t.Error("others have lifted the limit")
	}
	for i := range capacity { // forgotten as others come, two at a time
		l.Take("later", noon.Add(2*time.Hour+time.Duration(i)*6*time.Minute))
	}
	if l.Len() != 1 {
		t.Errorf("%d buckets are kept that are full", l.Len()-1)
	}
}

func TestAtOnce(t *testing.T) {
	l := limit.New(limit.Rate{Count: 100, Per: time.Hour}, nil, 10)
	var admitted atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if l.Take("a", noon) == 0 {
					admitted.Add(1)
				}
			}
		})
	}
	all.Wait()
	if admitted.Load() != 100 {
		t.Errorf("%d were let in", admitted.Load())
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]string{
		"500/1h": "500 in 1h", "1/90m": "1 in 1h30m", "1000000000/1s": "1000000000 in 1s", "3/24h": "3 in 24h",
		"2/10m": "2 in 10m", "2/100s": "2 in 1m40s",
	} {
		if r, err := limit.ParseRate(text); err != nil || r.String() != want {
			t.Errorf("%q is %s, %v", text, r, err)
		}
	}
	for _, text := range []string{
		"", "5", "5/", "/1h", "0/1h", "-1/1h", "5/0s", "5/-1h", "5/999ms", "5/721h", "5/1h/2", "x/1h",
		"1000000001/1h", "99999999999999999999/1h", "5/1 h", "1.5/1h",
	} {
		if r, err := limit.ParseRate(text); err == nil {
			t.Errorf("%q is %s", text, r)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	f.Add("500/1h")
	f.Add("1/1ns")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := limit.ParseRate(text)
		if err != nil {
			return
		}
		l := limit.New(r, nil, 1)
		if l.Take("a", noon) != 0 {
			t.Errorf("%q lets nothing happen", text)
		}
		if wait := l.Wait("a", noon); wait < 0 || wait > r.Per+time.Second {
			t.Errorf("%q makes one wait %s", text, wait)
		}
	})
}

func BenchmarkTake(b *testing.B) {
	l := limit.New(limit.Rate{Count: 1000, Per: time.Hour}, nil, 1<<16)
	keys := make([]string, 1<<17)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	for i := 0; b.Loop(); i++ {
		l.Take(keys[i%len(keys)], noon.Add(time.Duration(i)*time.Microsecond))
	}
}
