package limit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate lets Count events happen at once, and as many again in every Per, evenly.
type Rate struct {
	Count int
	Per   time.Duration
}

const (
	maxCount = 1_000_000_000
	maxPer   = 30 * 24 * time.Hour
)

// ParseRate reads "count/duration", for example "500/1h".
func ParseRate(text string) (Rate, error) {
	before, after, _ := strings.Cut(text, "/")
	count, err := strconv.Atoi(before)
	if err != nil || count < 1 || count > maxCount {
		return Rate{}, fmt.Errorf("%.40q is not a count from 1 to %d", before, maxCount)
	}
	per, err := time.ParseDuration(after)
	if err != nil || per < time.Second || per > maxPer {
		return Rate{}, fmt.Errorf("%.40q is not a duration from 1s to %s", after, shortly(maxPer))
	}
	return Rate{count, per}, nil
}

func (r Rate) String() string { return strconv.Itoa(r.Count) + " in " + shortly(r.Per) }

// shortly writes a duration without the units that are zero.
func shortly(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
